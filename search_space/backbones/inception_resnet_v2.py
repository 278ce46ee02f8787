"""Inception-ResNet-v2: Szegedy et al., "Inception-v4, Inception-ResNet ..." (arXiv 1602.07261).

In the form of its released weights (TensorFlow-slim), which is deeper than the paper's figures and has another stem:
10 blocks A, 20 B and 10 C, without the auxiliary classifier. It takes 13.16 GFLOPs at 299x299. "Squeeze-and-Excitation
Networks" (arXiv 1709.01507) prints 11.75, which is what it takes if the third convolution of the stem does not pad.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from search_space.backbones.bn_inception import Inception, conv_norm_relu, initialise

Kernel = int | tuple[int, int]
# Branches side by side, each as the widths and kernels of its convolutions.
Branches = Sequence[Sequence[tuple[int, Kernel]]]

MIXED_5B = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
BLOCK_A = (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))
BLOCK_B = (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))
BLOCK_C = (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))
REDUCTION_A = (((384, 3),), ((256, 1), (256, 3), (384, 3)))
REDUCTION_B = (((256, 1), (384, 3)), ((256, 1), (288, 3)), ((256, 1), (288, 3), (320, 3)))


def inception_resnet_v2(in_channels: int, num_classes: int, *, padded_stem: bool = True) -> nn.Module:
    """Inception-ResNet-v2; published with images of 299x299. ``padded_stem`` is of the stem's third convolution."""
    return InceptionResNetV2(in_channels, num_classes, padded_stem)


class InceptionResNetV2(nn.Module):
    """From images [N, in_channels, H, W] to logits [N, num_classes]; H and W at least 75."""

    def __init__(self, in_channels: int, num_classes: int, padded_stem: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(in_channels, 32, 3, stride=2),
            _conv(32, 32, 3),
            _conv(32, 64, 3, padding=int(padded_stem)),
            nn.MaxPool2d(3, 2),
            _conv(64, 80, 1),
            _conv(80, 192, 3),
            nn.MaxPool2d(3, 2),
        )
        pool = nn.Sequential(nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), _conv(192, 64, 1))
        self.mixed_5b = _side_by_side(192, MIXED_5B, pool=pool)
        self.blocks_a = nn.Sequential(*(ResidualBlock(320, BLOCK_A, 0.17) for _ in range(10)))
        self.reduction_a = _side_by_side(320, REDUCTION_A, stride=2, pool=nn.MaxPool2d(3, 2))
        self.blocks_b = nn.Sequential(*(ResidualBlock(1088, BLOCK_B, 0.10) for _ in range(20)))
        self.reduction_b = _side_by_side(1088, REDUCTION_B, stride=2, pool=nn.MaxPool2d(3, 2))
        self.blocks_c = nn.Sequential(
            *(ResidualBlock(2080, BLOCK_C, 0.20) for _ in range(9)),
            ResidualBlock(2080, BLOCK_C, 1.0, activated=False),
        )
        self.conv_7b = _conv(2080, 1536, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1536, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.blocks_a(self.mixed_5b(self.stem(x)))
        x = self.blocks_b(self.reduction_a(x))
        x = self.blocks_c(self.reduction_b(x))
        x = self.avgpool(self.conv_7b(x)).flatten(1)
        logits: Tensor = self.fc(self.dropout(x))
        return logits


class ResidualBlock(nn.Module):
    """ReLU(scale * F(x) + x), F being convolutions side by side and a 1x1 convolution back to the width of x."""

    def __init__(self, channels: int, branches: Branches, scale: float, *, activated: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.branches = _side_by_side(channels, branches)
        # Not normalised, hence its bias, and the scale that keeps the sum stable.
        self.conv = nn.Conv2d(sum(branch[-1][0] for branch in branches), channels, 1)
        self.relu = nn.ReLU() if activated else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] to the same shape."""
        out: Tensor = self.relu(self.conv(self.branches(x)) * self.scale + x)
        return out


def _side_by_side(in_channels: int, branches: Branches, *, stride: int = 1, pool: nn.Module | None = None) -> Inception:
    modules: dict[str, nn.Module] = {f"branch{i}": _chain(in_channels, b, stride) for i, b in enumerate(branches)}
    return Inception(modules if pool is None else modules | {"pool": pool})


def _chain(in_channels: int, layers: Sequence[tuple[int, Kernel]], stride: int) -> nn.Sequential:
    """Convolutions that keep the size; with a stride of 2, the last one has it and is not padded."""
    chain = nn.Sequential()
    for i, (channels, kernel) in enumerate(layers, start=1):
        if stride == 2 and i == len(layers):
            chain.append(_conv(in_channels, channels, kernel, stride=2))
        else:
            height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
            chain.append(_conv(in_channels, channels, kernel, padding=(height // 2, width // 2)))
        in_channels = channels
    return chain


def _conv(
    in_channels: int, channels: int, kernel: Kernel, *, stride: int = 1, padding: int | tuple[int, int] = 0
) -> nn.Sequential:
    return conv_norm_relu(in_channels, channels, kernel, stride=stride, padding=padding, eps=1e-3)
