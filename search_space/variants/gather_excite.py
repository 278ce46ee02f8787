"""Gather-Excite without parameters (https://arxiv.org/abs/1810.12348), its extent the whole map: GE-theta-minus."""

from collections.abc import Mapping

import torch
from torch import Tensor

from search_space.architecture import Setting, Shape
from search_space.variants.family import FLOAT_BYTES, Family, Options, Price, Variant
from search_space.variants.gate import Gate


class GatherExcite(Gate):
    """``x * sigmoid(avg(x))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def gate(self, x: Tensor) -> Tensor:
        """The gates of [N, C, H, W], as [N, C, 1, 1]."""
        return torch.sigmoid(x.mean((2, 3), keepdim=True))


def price(shape: Shape) -> Price:
    """The block's cost on a map of (channels, height, width)."""
    channels, height, width = shape
    elements = channels * height * width
    return Price(flops=2 * elements, params=0, memory=FLOAT_BYTES * (elements + channels))


def _settings(_channels: int, _options: Options) -> Mapping[str, Setting]:
    return {}


FAMILY = Family(
    module=GatherExcite,
    paper="https://arxiv.org/abs/1810.12348",
    price=price,
    variants={"gather_excite": Variant("the averages themselves, no parameters", _settings)},
)
