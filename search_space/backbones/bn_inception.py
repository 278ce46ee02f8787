"""BN-Inception: Ioffe and Szegedy, "Batch Normalization" (arXiv 1502.03167), figure 5.

The widths and the pooling are those of the network that "Squeeze-and-Excitation Networks" (arXiv 1709.01507) builds
on, in its authors' Caffe model: pooling rounds sizes up, and no convolution has a bias.
"""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

# 1x1 | reduction and 3x3 | reduction and both 3x3 in a row | pooling and its 1x1. Without a 1x1 the module halves
# the map: its 3x3 and its pooling have stride 2, and the pooled map joins as it is.
INCEPTIONS = {
    "3a": (64, (64, 64), (64, 96), ("average", 32)),
    "3b": (64, (64, 96), (64, 96), ("average", 64)),
    "3c": (None, (128, 160), (64, 96), ("max", None)),
    "4a": (224, (64, 96), (96, 128), ("average", 128)),
    "4b": (192, (96, 128), (96, 128), ("average", 128)),
    "4c": (160, (128, 160), (128, 160), ("average", 128)),
    "4d": (96, (128, 192), (160, 192), ("average", 128)),
    "4e": (None, (128, 192), (192, 256), ("max", None)),
    "5a": (352, (192, 320), (160, 224), ("average", 128)),
    "5b": (352, (192, 320), (192, 224), ("max", 128)),
}


def bn_inception(in_channels: int, num_classes: int) -> nn.Module:
    """BN-Inception; published with images of 224x224."""
    return BNInception(in_channels, num_classes)


class BNInception(nn.Module):
    """From images [N, in_channels, H, W], H and W multiples of 32, to logits [N, num_classes].

    Of other sizes, the maps that a module concatenates may differ by a pixel.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv_norm_relu(in_channels, 64, 7, stride=2, padding=3)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2_reduce = conv_norm_relu(64, 64, 1)
        self.conv2 = conv_norm_relu(64, 192, 3, padding=1)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = 192
        self.inception = nn.Sequential()
        for name, (one, three, double, (pool, projected)) in INCEPTIONS.items():
            module = _inception(channels, one, three, double, pool, projected)
            self.inception.add_module(name, module)
            channels = (one or 0) + three[1] + double[1] + (projected or channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.pool1(self.conv1(x))
        x = self.pool2(self.conv2(self.conv2_reduce(x)))
        x = self.inception(x)
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class Inception(nn.Module):
    """Branches side by side over one map: [N, C, H, W] to the concatenation of what each makes of it."""

    def __init__(self, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, sum of the branches' channels, H', W']."""
        return torch.cat([branch(x) for branch in self.children()], 1)


def conv_norm_relu(
    in_channels: int,
    channels: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    eps: float = 1e-5,
) -> nn.Sequential:
    """A convolution without bias, batch normalisation, ReLU: [N, in_channels, H, W] to [N, channels, H', W']."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=False),
            bn=nn.BatchNorm2d(channels, eps=eps),
            relu=nn.ReLU(),
        )
    )


def initialise(module: nn.Module) -> None:
    """He initialisation of a convolution."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _inception(
    in_channels: int,
    one: int | None,
    three: tuple[int, int],
    double: tuple[int, int],
    pool: str,
    projected: int | None,
) -> Inception:
    stride = 1 if one else 2
    branches: dict[str, nn.Module] = {}
    if one:
        branches["1x1"] = conv_norm_relu(in_channels, one, 1)
    branches["3x3"] = nn.Sequential(
        conv_norm_relu(in_channels, three[0], 1),
        conv_norm_relu(three[0], three[1], 3, stride=stride, padding=1),
    )
    branches["double3x3"] = nn.Sequential(
        conv_norm_relu(in_channels, double[0], 1),
        conv_norm_relu(double[0], double[1], 3, padding=1),
        conv_norm_relu(double[1], double[1], 3, stride=stride, padding=1),
    )
    projection = [conv_norm_relu(in_channels, projected, 1)] if projected else []
    branches["pool"] = nn.Sequential(_pool(pool, stride), *projection)
    return Inception(branches)


def _pool(kind: str, stride: int) -> nn.Module:
    if kind == "average":
        return nn.AvgPool2d(3, stride, padding=1)
    return nn.MaxPool2d(3, stride, padding=1 if stride == 1 else 0, ceil_mode=True)
