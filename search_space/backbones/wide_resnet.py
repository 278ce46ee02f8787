"""Wide ResNets for small images: Zagoruyko and Komodakis, "Wide Residual Networks".

arXiv 1605.07146: https://arxiv.org/abs/1605.07146. Three stages of n pre-activation blocks at 16k, 32k and 64k
channels, depth 6n + 4; WRN-16-8 is the one of depth 16 and k = 8.
"""

from torch import Tensor, nn

from search_space.backbones.depths import blocks_per_stage
from search_space.backbones.initialisation import he_by_outputs
from search_space.errors import InputError


def wide_resnet(
    in_channels: int, num_classes: int, *, depth: int = 16, widen: int = 8, dropout: float = 0.0
) -> nn.Module:
    """The Wide ResNet of a depth 6n + 4; ``widen`` is k, ``dropout`` the rate between a block's convolutions.

    Raises:
        InputError: the depth is not 6n + 4, or the rate is not in [0, 1).
    """
    if not 0 <= dropout < 1:
        raise InputError(f"a dropout rate is at least 0 and below 1, not {dropout}")
    return WideResNet(
        blocks_per_stage("a Wide ResNet", depth, layers=6, beside=4), in_channels, num_classes, widen, dropout
    )


class WideResNet(nn.Module):
    """From images [N, in_channels, H, W] to logits [N, num_classes]."""

    def __init__(self, blocks_per_stage: int, in_channels: int, num_classes: int, widen: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(blocks_per_stage, 16, 16 * widen, 1, dropout)
        self.layer2 = _stage(blocks_per_stage, 16 * widen, 32 * widen, 2, dropout)
        self.layer3 = _stage(blocks_per_stage, 32 * widen, 64 * widen, 2, dropout)
        self.bn = nn.BatchNorm2d(64 * widen)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * widen, num_classes)
        self.apply(he_by_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        x = self.relu(self.bn(x))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after norm and ReLU, and a shortcut: F(x) + shortcut(x)."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        same = in_channels == channels
        self.projection = None if same else nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        activated = self.relu(self.bn1(x))
        # a projection takes what the branch takes, so that the two share the first norm and ReLU
        shortcut = x if self.projection is None else self.projection(activated)
        out = self.relu(self.bn2(self.conv1(activated)))
        out = self.conv2(self.dropout(out))
        added: Tensor = out + shortcut
        return added


def _stage(blocks: int, in_channels: int, channels: int, stride: int, dropout: float) -> nn.Sequential:
    first = WideBlock(in_channels, channels, stride, dropout)
    return nn.Sequential(first, *(WideBlock(channels, channels, 1, dropout) for _ in range(blocks - 1)))
