"""The cost of an architecture in closed form: known before anything is built.

One multiply-add is one FLOP, as in the papers and in fvcore. The backbone's share is that of its convolutions
and linear layers, which is what published figures count. An SE block's share is complete: the multiply-adds of
its layers, one addition per element it squeezes and one multiplication per element it scales. Memory is that of the
maps, as 32-bit floats, which are alive at the worst moment of a forward pass of one image, its own not counted.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

from search_space.architecture import SE, Architecture, Backbone, Position, Shape
from search_space.errors import InputError
from search_space.site import Site
from search_space.spans import Span, overlap
from search_space.variants.family import FLOAT_BYTES, Price


class BlockCost(NamedTuple):
    """What one block adds to a network, and the most bytes alive in its part of it."""

    flops: int
    params: int
    memory: int


class Priced(Protocol):
    """A traced backbone, as far as its cost goes."""

    @property
    def backbone(self) -> Backbone: ...  # noqa: D102
    @property
    def flops(self) -> int: ...  # noqa: D102
    @property
    def params(self) -> int: ...  # noqa: D102
    @property
    def memory(self) -> int: ...  # noqa: D102
    def may_overlap(self, architecture: Architecture) -> bool:
        """Return whether blocks of an architecture of this backbone may be alive together."""

    @property
    def prices(self) -> dict[tuple[str, SE], BlockCost]:
        """What is known already of the cost of blocks at sites."""

    def site(self, name: str) -> Site: ...  # noqa: D102
    def span(self, name: str, position: Position) -> Span: ...  # noqa: D102
    def memory_of(self, architecture: Architecture) -> int:
        """The memory of an architecture, found by a run of it without weights."""


@dataclass(frozen=True)
class Cost:
    """What a network costs on one image.

    Attributes:
        flops: multiply-adds.
        params: learnable parameters.
        memory: bytes of maps alive at the worst moment of a forward pass.
        se_flops: the SE blocks' share of the FLOPs.
        se_params: the SE blocks' share of the parameters.
    """

    flops: int
    params: int
    memory: int
    se_flops: int
    se_params: int


def cost(traced: Priced, architecture: Architecture) -> Cost:
    """The cost of an architecture on its traced backbone.

    Raises:
        InputError: a site does not exist, does not have the position asked of it, or has a block that cannot be.
        ValueError: the architecture is of another backbone.
    """
    if architecture.backbone is not traced.backbone and architecture.backbone != traced.backbone:
        raise ValueError(f"an architecture of {architecture.backbone} cannot be priced on {traced.backbone}")
    prices = traced.prices
    se_flops = se_params = 0
    memory = traced.memory
    for entry in architecture.sites:
        flops, params, peak = prices.get(entry) or site_price(traced, *entry)
        se_flops += flops
        se_params += params
        memory = max(memory, peak)
    if traced.may_overlap(architecture):
        spans = {name: [traced.span(name, se.position)] for name, se in architecture.sites}
        memory = traced.memory_of(architecture) if overlap(spans) else memory
    return Cost(traced.flops + se_flops, traced.params + se_params, memory, se_flops, se_params)


def site_price(traced: Priced, name: str, se: SE) -> BlockCost:
    """What a block at a site adds to the backbone.

    Raises:
        InputError: the site does not exist, does not have the position, or the block cannot be.
    """
    known = traced.prices.get((name, se))
    if known is None:
        try:
            price = block_price(se, traced.site(name).shape(se.position))
        except InputError as error:
            raise InputError(f"site {name}: {error}") from error
        memory = traced.span(name, se.position).peak(price.memory)
        known = traced.prices[name, se] = BlockCost(price.flops, price.params, memory)
    return known


@lru_cache(maxsize=1 << 16)
def block_price(se: SE, shape: Shape) -> Price:
    """The price of one block on a map of (channels, height, width).

    Raises:
        InputError: there is no such kind of block, or it does not take these settings.
    """
    from search_space.measuring import measure
    from search_space.variants import family
    from search_space.variants.settings import check_settings

    found, settings = family(se.kind), dict(se.settings)
    check_settings(found.module, settings)
    price = found.price(shape, **settings) if found.price else measure(partial(found.module, **settings), shape)
    if not se.from_identity:
        return price
    channels, height, width = shape
    elements = channels * height * width
    return Price(price.flops + elements, price.params + 1, max(price.memory, 2 * FLOAT_BYTES * elements))
