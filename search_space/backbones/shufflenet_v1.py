"""ShuffleNet: Zhang et al., "An Extremely Efficient Convolutional Neural Network for Mobile Devices".

arXiv 1707.01083: https://arxiv.org/abs/1707.01083. Bottlenecks of grouped 1x1 convolutions with a depthwise 3x3
between; a shuffle of the channels lets the groups see each other.
"""

import torch
from torch import Tensor, nn

from search_space.backbones.initialisation import he_by_inputs
from search_space.errors import InputError

# channels of the first stage by the number of groups, chosen by the authors to cost about the same
_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


def shufflenet_v1(in_channels: int, num_classes: int, *, groups: int = 3, width: float = 1.0) -> nn.Module:
    """ShuffleNet with ``width`` times its channels everywhere, to the nearest number that ``groups`` divides.

    Raises:
        InputError: no ShuffleNet has that number of groups, or the width is not above 0.
    """
    if groups not in _CHANNELS:
        raise InputError(f"a ShuffleNet has {', '.join(map(str, _CHANNELS))} groups, not {groups}")
    if not width > 0:
        raise InputError(f"a ShuffleNet's width is above 0, not {width}")
    stem = _nearest_multiple(24 * width, groups)
    # a quarter of them are the bottleneck's, in groups as well
    channels = _nearest_multiple(_CHANNELS[groups] * width, 4 * groups)
    return ShuffleNetV1(in_channels, num_classes, groups, stem, channels)


class ShuffleNetV1(nn.Module):
    """From images [N, in_channels, H, W] to logits [N, num_classes]; stages are numbered as in the paper."""

    def __init__(self, in_channels: int, num_classes: int, groups: int, stem: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stem, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        # so few channels enter the first unit that its first convolution is not in groups
        self.stage2 = _stage(4, stem, channels, groups, groups_at_entry=1)
        self.stage3 = _stage(8, channels, 2 * channels, groups, groups_at_entry=groups)
        self.stage4 = _stage(4, 2 * channels, 4 * channels, groups, groups_at_entry=groups)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * channels, num_classes)
        self.apply(he_by_inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.stage4(self.stage3(self.stage2(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class Branch(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; ReLU after the first only."""

    def __init__(self, in_channels: int, inner: int, channels: int, stride: int, groups: int, first: int) -> None:
        super().__init__()
        self.pointwise1 = nn.Conv2d(in_channels, inner, 1, groups=first, bias=False)
        self.pointwise1_bn = nn.BatchNorm2d(inner)
        self.shuffle = Shuffle(groups)
        self.depthwise = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(inner)
        self.pointwise2 = nn.Conv2d(inner, channels, 1, groups=groups, bias=False)
        self.pointwise2_bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        x = self.relu(self.pointwise1_bn(self.pointwise1(x)))
        x = self.depthwise_bn(self.depthwise(self.shuffle(x)))
        normed: Tensor = self.pointwise2_bn(self.pointwise2(x))
        return normed


class AddUnit(nn.Module):
    """ReLU(F(x) + x)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.branch = Branch(channels, channels // 4, channels, 1, groups, groups)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] to the same."""
        activated: Tensor = self.relu(self.branch(x) + x)
        return activated


class ConcatenateUnit(nn.Module):
    """ReLU of F(x) beside the average-pooled x, both at half the resolution."""

    def __init__(self, in_channels: int, channels: int, groups: int, first: int) -> None:
        super().__init__()
        self.branch = Branch(in_channels, channels // 4, channels - in_channels, 2, groups, first)
        self.pool = nn.AvgPool2d(3, 2, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / 2, W / 2]."""
        activated: Tensor = self.relu(torch.cat((self.pool(x), self.branch(x)), 1))
        return activated


class Shuffle(nn.Module):
    """Deals the channels of each group out to all groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same: channel i of group g becomes channel i * groups + g."""
        return torch.unflatten(x, 1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


def _stage(units: int, in_channels: int, channels: int, groups: int, groups_at_entry: int) -> nn.Sequential:
    first = ConcatenateUnit(in_channels, channels, groups, groups_at_entry)
    return nn.Sequential(first, *(AddUnit(channels, groups) for _ in range(units - 1)))


def _nearest_multiple(number: float, divisor: int) -> int:
    return max(1, round(number / divisor)) * divisor
