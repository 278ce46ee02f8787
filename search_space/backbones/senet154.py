"""The network of SENet-154 without its SE blocks: Hu et al., "Squeeze-and-Excitation Networks", its appendix.

arXiv 1709.01507: https://arxiv.org/abs/1709.01507; the details are those of the authors' released model
(https://github.com/hujie-frank/SENet). A ResNeXt-152 64x4d with half the channels in the first 1x1 of each
bottleneck, three 3x3 convolutions in place of the first 7x7, 3x3 projections, and dropout before the classifier.
"""

from torch import Tensor, nn

from search_space.backbones.initialisation import he_by_inputs
from search_space.errors import InputError

STEMS = ("imagenet", "cifar")
_GROUPS = 64


def senet154(in_channels: int, num_classes: int, *, stem: str = "imagenet") -> nn.Module:
    """SENet-154's backbone; the stem "cifar" keeps the resolution, where "imagenet" divides it by four.

    Raises:
        InputError: there is no such stem.
    """
    if stem not in STEMS:
        raise InputError(f"a stem of SENet-154 is {' or '.join(STEMS)}, not {stem!r}")
    return SENet154(in_channels, num_classes, keep_resolution=stem == "cifar")


class SENet154(nn.Module):
    """From images [N, in_channels, H, W] to logits [N, num_classes]."""

    def __init__(self, in_channels: int, num_classes: int, keep_resolution: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 3, 1 if keep_resolution else 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(128)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if keep_resolution else nn.MaxPool2d(3, 2, ceil_mode=True)
        self.layer1 = _stage(3, 128, 256, stride=1)
        self.layer2 = _stage(8, 256, 512, stride=2)
        self.layer3 = _stage(36, 512, 1024, stride=2)
        self.layer4 = _stage(3, 1024, 2048, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(2048, num_classes)
        self.apply(he_by_inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.maxpool(self.relu(self.bn3(self.conv3(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return logits


class GroupedBottleneck(nn.Module):
    """1x1 to half the channels, 3x3 in groups, 1x1, and a shortcut: ReLU(F(x) + shortcut(x))."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels // 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // 2)
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride, padding=1, groups=_GROUPS, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.shortcut = nn.Identity() if in_channels == channels else _projection(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        activated: Tensor = self.relu(out + self.shortcut(x))
        return activated


def _projection(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    kernel = 1 if stride == 1 else 3
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = GroupedBottleneck(in_channels, channels, stride)
    return nn.Sequential(first, *(GroupedBottleneck(channels, channels, 1) for _ in range(blocks - 1)))
