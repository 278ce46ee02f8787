"""Effective SE (CenterMask, https://arxiv.org/abs/1911.06667): one layer, C to C, and so no bottleneck to lose
anything in; the gate is a hard sigmoid.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from search_space.architecture import Setting, Shape
from search_space.variants.family import FLOAT_BYTES, Family, Options, Price, Variant
from search_space.variants.gate import Gate


class EffectiveSE(Gate):
    """``x * hard_sigmoid(W avg(x))``."""

    def __init__(self, channels: int, *, bias: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels, bias=bias)

    def gate(self, x: Tensor) -> Tensor:
        """The gates of [N, C, H, W], as [N, C, 1, 1]."""
        return F.hardsigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]


def price(shape: Shape, *, bias: bool) -> Price:
    """The block's cost on a map of (channels, height, width)."""
    channels, height, width = shape
    elements = channels * height * width
    return Price(
        flops=channels**2 + 2 * elements,
        params=channels**2 + (channels if bias else 0),
        memory=FLOAT_BYTES * (channels + max(channels, elements)),
    )


def _settings(_channels: int, options: Options) -> Mapping[str, Setting]:
    return {"bias": options.bias}


FAMILY = Family(
    module=EffectiveSE,
    paper="https://arxiv.org/abs/1911.06667",
    price=price,
    variants={"effective_se": Variant("fully connected, C, C; hard sigmoid", _settings)},
)
