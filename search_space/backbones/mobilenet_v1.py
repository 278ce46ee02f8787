"""MobileNet: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications".

arXiv 1704.04861: https://arxiv.org/abs/1704.04861. A 3x3 convolution, then thirteen pairs of a depthwise 3x3 and a
pointwise 1x1 convolution, each with norm and ReLU, and no shortcuts.
"""

from torch import Tensor, nn

from search_space.backbones.initialisation import he_by_inputs
from search_space.errors import InputError


def mobilenet_v1(in_channels: int, num_classes: int, *, width: float = 1.0) -> nn.Module:
    """MobileNet with ``width`` times its channels everywhere.

    Raises:
        InputError: the width is not above 0.
    """
    if not width > 0:
        raise InputError(f"a MobileNet's width is above 0, not {width}")
    return MobileNetV1(in_channels, num_classes, width)


class MobileNetV1(nn.Module):
    """From images [N, in_channels, H, W] to logits [N, num_classes]; ``layer1`` to ``layer5`` are its resolutions."""

    def __init__(self, in_channels: int, num_classes: int, width: float) -> None:
        super().__init__()
        c32, c64, c128, c256, c512, c1024 = (max(1, int(c * width)) for c in (32, 64, 128, 256, 512, 1024))
        self.conv1 = nn.Conv2d(in_channels, c32, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c32)
        self.relu = nn.ReLU()
        self.layer1 = _stage(1, c32, c64, stride=1)
        self.layer2 = _stage(2, c64, c128, stride=2)
        self.layer3 = _stage(2, c128, c256, stride=2)
        self.layer4 = _stage(6, c256, c512, stride=2)
        self.layer5 = _stage(2, c512, c1024, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c1024, num_classes)
        self.apply(he_by_inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer5(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class SeparableConvolution(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution across channels."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.pointwise_bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        x = self.relu(self.depthwise_bn(self.depthwise(x)))
        activated: Tensor = self.relu(self.pointwise_bn(self.pointwise(x)))
        return activated


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = SeparableConvolution(in_channels, channels, stride)
    return nn.Sequential(first, *(SeparableConvolution(channels, channels, 1) for _ in range(blocks - 1)))
