"""NoSqueeze (https://arxiv.org/abs/1709.01507, section 6.5): SE whose gate keeps height and width.

Nothing is pooled, and the fully connected layers become 1x1 convolutions of the same widths.
"""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from search_space.architecture import Excitation, Setting, Shape
from search_space.variants.family import FLOAT_BYTES, Family, Options, Price, Variant
from search_space.variants.gate import Gate, Hidden, biases, perceptron, perceptron_floats, switch_units_on, weights
from search_space.variants.se import EXCITATIONS
from search_space.widths import bottleneck


class NoSqueeze(Gate):
    """A gate for each channel at each pixel; arguments as for SqueezeExcite."""

    def __init__(self, channels: int, *, hidden: Hidden, excitation: Excitation, bias: bool) -> None:
        super().__init__()
        self.excitation = excitation
        layers = [nn.Conv2d(i, o, 1, bias=bias) for i, o in pairwise((channels, *hidden, channels))]
        for layer in layers[:-1]:
            switch_units_on(layer.weight)
        self.fc = nn.ModuleList(layers)

    def gate(self, x: Tensor) -> Tensor:
        """The gates of [N, C, H, W], of the same shape."""
        return EXCITATIONS[self.excitation](perceptron(self.fc, x))


def price(shape: Shape, *, hidden: Hidden, excitation: Excitation, bias: bool) -> Price:
    """The block's cost on a map of (channels, height, width)."""
    channels, height, width = shape
    pixels = height * width
    layers = weights(channels, hidden)
    return Price(
        flops=layers * pixels + channels * pixels,
        params=layers + biases(channels, hidden, bias),
        memory=FLOAT_BYTES * pixels * perceptron_floats(channels, hidden, squeezed=False),
    )


def _settings(channels: int, options: Options) -> Mapping[str, Setting]:
    hidden = (bottleneck(channels, options.ratio),)
    return {"hidden": hidden, "excitation": options.excitation, "bias": options.bias}


FAMILY = Family(
    module=NoSqueeze,
    paper="https://arxiv.org/abs/1709.01507, section 6.5",
    price=price,
    variants={"no_squeeze": Variant("1x1 convolutions, C, C/r, C, at each pixel", _settings, ("ratio", "excitation"))},
)
