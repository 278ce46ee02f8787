"""SimAM (https://proceedings.mlr.press/v139/yang21o.html): a gate for each element, without parameters.

An element matters as far as it stands out from its channel: the inverse of the minimal energy of separating the
two linearly, ``d / (4 (v + lambda)) + 1/2`` for its squared distance d from the mean and the channel's variance v.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from search_space.architecture import Setting, Shape
from search_space.variants.family import FLOAT_BYTES, Family, Options, Price, Variant
from search_space.variants.gate import Gate

LAMBDA = 1e-4
"""The regularisation of the paper."""


class SimAM(Gate):
    """``x * sigmoid(d / (4 (v + lambda)) + 1/2)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def gate(self, x: Tensor) -> Tensor:
        """The gates of [N, C, H, W], of the same shape."""
        distance = (x - x.mean((2, 3), keepdim=True)).square()
        # A map of one pixel has no variance.
        others = max(1, x.shape[2] * x.shape[3] - 1)
        variance = distance.sum((2, 3), keepdim=True) / others
        return torch.sigmoid(distance / (4 * (variance + LAMBDA)) + 0.5)


def price(shape: Shape) -> Price:
    """The block's cost on a map of (channels, height, width).

    Seven passes over the map (average, subtract, square, sum, divide, add, scale) and three operations a channel.
    """
    channels, height, width = shape
    elements = channels * height * width
    return Price(
        flops=7 * elements + 3 * channels,
        params=0,
        memory=FLOAT_BYTES * (3 * elements + channels),
    )


def _settings(_channels: int, _options: Options) -> Mapping[str, Setting]:
    return {}


FAMILY = Family(
    module=SimAM,
    paper="https://proceedings.mlr.press/v139/yang21o.html",
    price=price,
    variants={"simam": Variant("energy of each element, no parameters", _settings)},
)
