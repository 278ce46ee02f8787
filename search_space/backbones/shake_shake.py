"""Shake-Shake networks for small images: Gastaldi, "Shake-Shake regularization".

arXiv 1705.07485: https://arxiv.org/abs/1705.07485. Three stages of n blocks at w, 2w and 4w channels, depth 6n + 2;
"26 2x96d" is the one of depth 26, two branches and w = 96. The branches are mixed as in Shake-Shake-Image.
"""

from typing import Any

import torch
from torch import Tensor, nn

from search_space.backbones.depths import blocks_per_stage
from search_space.backbones.initialisation import he_by_outputs


def shake_shake(in_channels: int, num_classes: int, *, depth: int = 26, width: int = 96) -> nn.Module:
    """The network of a depth 6n + 2; ``width`` is the number of channels of its first stage.

    Raises:
        InputError: the depth is not 6n + 2.
    """
    return ShakeShake(
        blocks_per_stage("a Shake-Shake network", depth, layers=6, beside=2), in_channels, num_classes, width
    )


class ShakeShake(nn.Module):
    """From images [N, in_channels, H, W] to logits [N, num_classes]."""

    def __init__(self, blocks_per_stage: int, in_channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(blocks_per_stage, 16, width, stride=1)
        self.layer2 = _stage(blocks_per_stage, width, 2 * width, stride=2)
        self.layer3 = _stage(blocks_per_stage, 2 * width, 4 * width, stride=2)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        self.apply(he_by_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.bn1(self.conv1(x))
        x = self.relu(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class ShakeBlock(nn.Module):
    """Two branches mixed and a shortcut: shake(F1(x), F2(x)) + shortcut(x)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.branch1 = Branch(in_channels, channels, stride)
        self.branch2 = Branch(in_channels, channels, stride)
        self.shake = Shake()
        self.shortcut = nn.Identity() if in_channels == channels else TwoPaths(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        mixed = self.shake(self.branch1(x), self.branch2(x))
        added: Tensor = mixed + self.shortcut(x)
        return added


class Branch(nn.Module):
    """ReLU, 3x3 convolution, norm, twice."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        out = self.bn1(self.conv1(self.relu(x)))
        normed: Tensor = self.bn2(self.conv2(self.relu(out)))
        return normed


class TwoPaths(nn.Module):
    """The shortcut where channels change: every stride-th pixel, beside every stride-th of the shifted map.

    Shifted by one pixel right and down, so that at stride 2 the paths see different pixels.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.pool = nn.AvgPool2d(1, stride)
        self.shift = nn.ZeroPad2d((1, -1, 1, -1))
        self.conv1 = nn.Conv2d(in_channels, channels // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(in_channels, channels - channels // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        x = self.relu(x)
        paths = self.conv1(self.pool(x)), self.conv2(self.pool(self.shift(x)))
        normed: Tensor = self.bn(torch.cat(paths, 1))
        return normed


class Shake(nn.Module):
    """Mixes two maps, in training by random weights for each image, in evaluation by halves.

    What it does depends on the mode, so a tracer keeps it whole.
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[N, C, H, W] twice to [N, C, H, W]."""
        if not self.training:
            return 0.5 * (a + b)
        mixed: Tensor = _RandomMix.apply(a, b)
        return mixed


class _RandomMix(torch.autograd.Function):
    """alpha a + (1 - alpha) b; the gradient flows as if alpha had been another number, beta."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        alpha = _one_per_image(a)
        return alpha * a + (1 - alpha) * b

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        beta = _one_per_image(gradient)
        return beta * gradient, (1 - beta) * gradient


def _one_per_image(like: Tensor) -> Tensor:
    return torch.rand(like.shape[0], 1, 1, 1, device=like.device, dtype=like.dtype)


def _stage(blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = ShakeBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(ShakeBlock(channels, channels, 1) for _ in range(blocks - 1)))
