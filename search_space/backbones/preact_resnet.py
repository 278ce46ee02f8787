"""Pre-activation ResNets for small images: He et al., "Identity Mappings in Deep Residual Networks".

arXiv 1603.05027: https://arxiv.org/abs/1603.05027. Three stages of n bottlenecks at 4w, 8w and 16w channels, depth
9n + 2, where norm and ReLU come before each convolution and nothing after the addition. The stride is on the first
1x1, as in the authors' code.
"""

from torch import Tensor, nn

from search_space.backbones.depths import blocks_per_stage
from search_space.backbones.initialisation import he_by_outputs

DEPTHS = (164,)


def preact_resnet(depth: int, in_channels: int, num_classes: int, *, width: int = 16) -> nn.Module:
    """The ResNet of a depth 9n + 2; ``width`` is the number of channels of its first convolution.

    Raises:
        InputError: the depth is not 9n + 2.
    """
    return PreactResNet(
        blocks_per_stage("a pre-activation ResNet", depth, layers=9, beside=2), in_channels, num_classes, width
    )


class PreactResNet(nn.Module):
    """From images [N, in_channels, H, W] to logits [N, num_classes]."""

    def __init__(self, blocks_per_stage: int, in_channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.layer1 = _stage(blocks_per_stage, width, 4 * width, stride=1)
        self.layer2 = _stage(blocks_per_stage, 4 * width, 8 * width, stride=2)
        self.layer3 = _stage(blocks_per_stage, 8 * width, 16 * width, stride=2)
        self.bn = nn.BatchNorm2d(16 * width)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16 * width, num_classes)
        self.apply(he_by_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        x = self.relu(self.bn(x))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class PreactBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each after norm and ReLU, and a shortcut: F(x) + shortcut(x)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        inner = channels // 4
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.relu = nn.ReLU()
        same = in_channels == channels
        self.projection = None if same else nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        activated = self.relu(self.bn1(x))
        # a projection takes what the branch takes, so that the two share the first norm and ReLU
        shortcut = x if self.projection is None else self.projection(activated)
        out = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        out = self.conv3(self.relu(self.bn3(out)))
        added: Tensor = out + shortcut
        return added


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = PreactBottleneck(in_channels, channels, stride)
    return nn.Sequential(first, *(PreactBottleneck(channels, channels, 1) for _ in range(blocks - 1)))
