"""The Squeeze-and-Excitation block (https://arxiv.org/abs/1709.01507), with the widths of any of its variants
(https://arxiv.org/abs/2304.06502).

``out = x * excitation(W_n relu(... relu(W_1 squeeze(x))))``, one gate per channel.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from search_space.architecture import Excitation, Setting, Shape, Squeeze
from search_space.variants.family import FLOAT_BYTES, Family, Options, Price, Variant
from search_space.variants.gate import Gate, Hidden, biases, linear_layers, perceptron, perceptron_floats, weights
from search_space.widths import hidden_widths

SQUEEZES: dict[Squeeze, Callable[[Tensor], Tensor]] = {
    "avg": lambda x: x.mean((2, 3)),
    "max": lambda x: x.amax((2, 3)),
}

EXCITATIONS: dict[Excitation, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
}


class SqueezeExcite(Gate):
    """Gates computed by fully connected layers from all channels.

    Args:
        channels: C.
        hidden: widths of the layers between squeeze and excitation, at least one.
        squeeze: how a channel's map becomes one number.
        excitation: the last non-linearity; those between the layers are ReLU.
        bias: whether the layers have biases (the released SENets do, the paper's ablations do not).
    """

    def __init__(self, channels: int, *, hidden: Hidden, squeeze: Squeeze, excitation: Excitation, bias: bool) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.excitation = excitation
        self.fc = linear_layers(channels, hidden, bias=bias)

    def gate(self, x: Tensor) -> Tensor:
        """The gates of [N, C, H, W], as [N, C, 1, 1]."""
        z = perceptron(self.fc, SQUEEZES[self.squeeze](x))
        return EXCITATIONS[self.excitation](z)[:, :, None, None]

    def extra_repr(self) -> str:
        """What ``repr`` shows beside the layers."""
        return f"squeeze={self.squeeze}, excitation={self.excitation}"


def price(shape: Shape, *, hidden: Hidden, squeeze: Squeeze, excitation: Excitation, bias: bool) -> Price:
    """The block's cost on a map of (channels, height, width)."""
    channels, height, width = shape
    elements = channels * height * width
    layers = weights(channels, hidden)
    return Price(
        flops=layers + 2 * elements,
        params=layers + biases(channels, hidden, bias),
        memory=FLOAT_BYTES * max(perceptron_floats(channels, hidden), elements + channels),
    )


def _settings(variant: str, channels: int, options: Options) -> Mapping[str, Setting]:
    return {
        "hidden": hidden_widths(variant, channels, options.ratio),
        "squeeze": options.squeeze,
        "excitation": options.excitation,
        "bias": options.bias,
    }


def _variant(name: str, widths: str) -> Variant:
    return Variant(f"fully connected, {widths}", partial(_settings, name), uses=("ratio", "squeeze", "excitation"))


FAMILY = Family(
    module=SqueezeExcite,
    paper="https://arxiv.org/abs/1709.01507, variants https://arxiv.org/abs/2304.06502",
    price=price,
    variants={
        "standard": _variant("standard", "C, C/r, C"),
        "slow_squeeze": _variant("slow_squeeze", "C, 2C/r, C/r, C"),
        "slow_excite": _variant("slow_excite", "C, C/r, 2C/r, C"),
        "slow_both": _variant("slow_both", "C, 2C/r, C/r, 2C/r, C"),
        "bump": _variant("bump", "C, C/r, C/r, C"),
    },
)
