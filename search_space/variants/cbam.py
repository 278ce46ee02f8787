"""The channel attention of CBAM (https://arxiv.org/abs/1807.06521): one perceptron sees the averages and the maxima."""

from collections.abc import Mapping

import torch
from torch import Tensor

from search_space.architecture import Setting, Shape
from search_space.variants.family import FLOAT_BYTES, Family, Options, Price, Variant
from search_space.variants.gate import Gate, Hidden, biases, linear_layers, perceptron, perceptron_floats, weights
from search_space.widths import bottleneck


class CBAMChannel(Gate):
    """``x * sigmoid(MLP(avg(x)) + MLP(max(x)))``."""

    def __init__(self, channels: int, *, hidden: Hidden, bias: bool) -> None:
        super().__init__()
        self.fc = linear_layers(channels, hidden, bias=bias)

    def gate(self, x: Tensor) -> Tensor:
        """The gates of [N, C, H, W], as [N, C, 1, 1]."""
        z = perceptron(self.fc, x.mean((2, 3))) + perceptron(self.fc, x.amax((2, 3)))
        return torch.sigmoid(z)[:, :, None, None]


def price(shape: Shape, *, hidden: Hidden, bias: bool) -> Price:
    """The block's cost on a map of (channels, height, width)."""
    channels, height, width = shape
    elements = channels * height * width
    layers = weights(channels, hidden)
    return Price(
        flops=2 * layers + channels + 3 * elements,
        params=layers + biases(channels, hidden, bias),
        memory=FLOAT_BYTES * (channels + max(perceptron_floats(channels, hidden), elements)),
    )


def _settings(channels: int, options: Options) -> Mapping[str, Setting]:
    return {"hidden": (bottleneck(channels, options.ratio),), "bias": options.bias}


FAMILY = Family(
    module=CBAMChannel,
    paper="https://arxiv.org/abs/1807.06521",
    price=price,
    variants={"cbam": Variant("MLP(avg) + MLP(max), C, C/r, C", _settings, ("ratio",))},
)
