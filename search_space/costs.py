"""The cost of an architecture in closed form: known before anything is built.

One multiply-add is one FLOP, as in the papers and in fvcore. The backbone's share is that of its convolutions
and linear layers, which is what published figures count. An SE block's share is complete: the multiply-adds of
its layers, one addition per element it squeezes and one multiplication per element it scales.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from search_space.architecture import SE, Architecture, Backbone
from search_space.site import Shape, Site


class Priced(Protocol):
    """A traced backbone, as far as its cost goes."""

    @property
    def backbone(self) -> Backbone: ...  # noqa: D102
    @property
    def flops(self) -> int: ...  # noqa: D102
    @property
    def params(self) -> int: ...  # noqa: D102
    def site(self, name: str) -> Site: ...  # noqa: D102


@dataclass(frozen=True)
class Cost:
    """Multiply-adds for one image and learnable parameters; the ``se_`` figures are the SE blocks' share."""

    flops: int
    params: int
    se_flops: int
    se_params: int


def cost(traced: Priced, architecture: Architecture) -> Cost:
    """The cost of an architecture on its traced backbone.

    Raises:
        InputError: a site does not exist or does not have the position asked of it.
        ValueError: the architecture is of another backbone.
    """
    if architecture.backbone != traced.backbone:
        raise ValueError(f"an architecture of {architecture.backbone} cannot be priced on {traced.backbone}")
    blocks = [(se, traced.site(name).shape(se.position)) for name, se in architecture.sites]
    se_flops = sum(block_flops(se, shape) for se, shape in blocks)
    se_params = sum(block_params(se, shape) for se, shape in blocks)
    return Cost(traced.flops + se_flops, traced.params + se_params, se_flops, se_params)


def block_flops(se: SE, shape: Shape) -> int:
    """FLOPs of one SE block on a map of (channels, height, width)."""
    channels, height, width = shape
    return _weights(channels, se.hidden) + 2 * channels * height * width


def block_params(se: SE, shape: Shape) -> int:
    """Learnable parameters of one SE block on a map of (channels, height, width)."""
    channels, *_ = shape
    biases = sum(se.hidden) + channels if se.bias else 0
    return _weights(channels, se.hidden) + biases


def _weights(channels: int, hidden: Iterable[int]) -> int:
    return sum(a * b for a, b in pairwise((channels, *hidden, channels)))
