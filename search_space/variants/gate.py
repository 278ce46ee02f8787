"""What most attention blocks have in common: a map scaled by a gate, and perceptrons on its squeezed channels."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

Hidden = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]
"""Widths of the layers between the channels that are squeezed and those that are excited."""


class Gate(nn.Module):
    """Scales [N, C, H, W] by a gate that is computed from it; the shape stays."""

    @abstractmethod
    def gate(self, x: Tensor) -> Tensor:
        """The gate of [N, C, H, W], of a shape that broadcasts to it."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        return x * self.gate(x)


def linear_layers(channels: int, hidden: Sequence[int], *, bias: bool) -> nn.ModuleList:
    """Fully connected layers from C through the hidden widths back to C, with their hidden units switched on."""
    layers = [nn.Linear(i, o, bias=bias) for i, o in pairwise((channels, *hidden, channels))]
    for layer in layers[:-1]:
        switch_units_on(layer.weight)
    return nn.ModuleList(layers)


@torch.no_grad()
def switch_units_on(weight: Tensor) -> None:
    """Turns round the units, rows of a weight, that sum below zero.

    The map at PRE, POST and Identity is not negative. A hidden unit with mostly negative weights is then off for
    every image, and where the bottleneck is one or two wide the whole block would never get a gradient, in some
    positions more than in others. As weights are drawn from a symmetric distribution, each alone keeps it.
    """
    rows = weight.flatten(1)
    rows.mul_(torch.where(rows.sum(1, keepdim=True) < 0, -1.0, 1.0))


def perceptron(layers: nn.ModuleList, z: Tensor) -> Tensor:
    """The layers one after another, ReLU between them."""
    *inner, last = layers
    for layer in inner:
        z = torch.relu(layer(z))
    out: Tensor = last(z)
    return out


def weights(channels: int, hidden: Sequence[int]) -> int:
    """The weights of layers from C through the hidden widths back to C."""
    return sum(a * b for a, b in pairwise((channels, *hidden, channels)))


def biases(channels: int, hidden: Sequence[int], bias: bool) -> int:
    """The biases of those layers."""
    return sum(hidden) + channels if bias else 0


def perceptron_floats(channels: int, hidden: Sequence[int], *, squeezed: bool = True) -> int:
    """Numbers alive at the worst moment of a perceptron, for each pixel, and of the operator on what it gives.

    A hidden layer has its input, its sums and what ReLU makes of them; the last one its input and its sums. What
    is not squeezed is the block's own input, which does not count.
    """
    first = channels if squeezed else 0
    inner = (a + 2 * b for a, b in pairwise((first, *hidden)))
    return max(*inner, hidden[-1] + channels, 2 * channels)
