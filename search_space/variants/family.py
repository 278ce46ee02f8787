"""What a family of SE variants is: a module, what it costs, and the variants that are settings of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from search_space.architecture import Excitation, Setting, Squeeze

if TYPE_CHECKING:
    from torch import nn

Option = Literal["ratio", "squeeze", "excitation"]

FLOAT_BYTES = 4
"""Memory is told for 32-bit floats."""


@dataclass(frozen=True)
class Options:
    """What a space or a command has chosen for one block; each variant takes what it has a use for."""

    ratio: int = 16
    squeeze: Squeeze = "avg"
    excitation: Excitation = "sigmoid"
    bias: bool = False


USUAL = Options()
"""The options of the published SENets, but for the biases, which those have."""


@dataclass(frozen=True)
class Price:
    """What one block costs on one image.

    Attributes:
        flops: multiply-adds of its layers, one addition per element squeezed, one multiplication per element scaled.
        params: learnable parameters.
        memory: bytes that are alive at the worst moment of its forward pass, beside its input.
    """

    flops: int
    params: int
    memory: int


@dataclass(frozen=True)
class Variant:
    """One design of a family.

    Attributes:
        formula: what it computes, for tables.
        settings: from the channels and the options to the keyword arguments of the family's module. Options that
            come to the same settings make the same network.
        uses: the options that the settings depend on.
    """

    formula: str
    settings: Callable[[int, Options], Mapping[str, Setting]]
    uses: tuple[Option, ...] = ()


@dataclass(frozen=True)
class Family:
    """Variants that share one module.

    Attributes:
        module: ``module(channels, **settings)`` makes a block from [N, channels, H, W] to the same shape.
        paper: where it was published.
        price: ``price((channels, height, width), **settings)`` in closed form; without it the module is measured.
    """

    module: "Callable[..., nn.Module]"
    paper: str
    variants: Mapping[str, Variant]
    price: Callable[..., Price] | None = None
