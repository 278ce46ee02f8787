"""Many architectures at once: drawn and priced as arrays, for what would take too long one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_space.architecture import SE, Architecture
from search_space.costs import cost, site_price
from search_space.site import Site
from search_space.space import SearchSpace
from search_space.spec import DIMENSIONS

CHUNK = 1 << 16
"""Architectures priced at a time: so many numbers stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class Population:
    """Architectures of a space, repeats included, and what they cost.

    Attributes:
        space: the space they were drawn from.
        blocks: for each site, the blocks that it can have; None is no block.
        chosen: for each architecture, one a row, the index of each site's block among them.
        flops: multiply-adds of each, its backbone's included.
        params: learnable parameters of each.
        memory: bytes of maps alive at the worst moment of a forward pass of each.
    """

    space: SearchSpace
    blocks: tuple[tuple[SE | None, ...], ...]
    chosen: NDArray[np.unsignedinteger[Any]]
    flops: NDArray[np.int64]
    params: NDArray[np.int64]
    memory: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    def architecture(self, i: int) -> Architecture:
        """The i-th architecture."""
        return _architecture(self.space, self.blocks, self.chosen[i])

    @cached_property
    def feasible(self) -> NDArray[np.bool_]:
        """Which of the architectures meet the constraints of the space."""
        base = self.space.traced
        quantities = {
            "flops": self.flops,
            "params": self.params,
            "memory": self.memory,
            "flops_overhead": (self.flops - base.flops) / base.flops,
            "params_overhead": (self.params - base.params) / base.params,
        }
        met = np.ones(len(self), bool)
        for quantity, values in quantities.items():
            bounds = getattr(self.space.spec.constraints, quantity)
            if bounds.min is not None:
                met &= values >= bounds.min
            if bounds.max is not None:
                met &= values <= bounds.max
        return met


def draw_population(space: SearchSpace, count: int, *, seed: int = 0) -> Population:
    """Draws architectures as :meth:`SearchSpace.sample` does without constraints: each parameter uniformly.

    The constraints of the space play no part in it; :attr:`Population.feasible` tells who meets them.
    """
    rng = np.random.default_rng(seed)
    drawn = {name: rng.integers(len(v), size=count, dtype=np.uint16) for name, v in space.parameters.items()}
    sites = space.traced.sites
    tables = [_blocks_by_parameters(space, site) for site in sites]
    blocks = tuple(found for found, _ in tables)
    chosen = np.empty((len(sites), count), np.min_scalar_type(max(map(len, blocks)) - 1))
    flops, params = np.full(count, space.traced.flops), np.full(count, space.traced.params)
    memory = np.full(count, space.traced.memory)
    prices = [_prices(space, site, found) for site, found in zip(sites, blocks, strict=True)]
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        for site, (_, table), price, row in zip(sites, tables, prices, chosen, strict=True):
            row[part] = table[_place_in_table(space, site, drawn, part)]
            flops[part] += price[0][row[part]]
            params[part] += price[1][row[part]]
            memory[part] = np.maximum(memory[part], price[2][row[part]])
    if space.traced.spans_overlap:
        memory = _memory_one_by_one(space, blocks, chosen.T)
    return Population(space, blocks, chosen.T, flops, params, memory)


def _blocks_by_parameters(
    space: SearchSpace, site: Site
) -> tuple[tuple[SE | None, ...], NDArray[np.unsignedinteger[Any]]]:
    """The blocks of a site, and which of them each setting of its parameters makes.

    Settings are numbered with the first dimension's value as the most significant digit. Those that differ only in
    what does not matter make the same block, so nothing has to be told apart when parameters are drawn.
    """
    values = [space.choices(space.parameter(dimension, site)) for dimension in DIMENSIONS]
    made = [space.block_at(site, dict(zip(DIMENSIONS, setting, strict=True))) for setting in product(*values)]
    blocks = {block: i for i, block in enumerate(dict.fromkeys(made))}
    return tuple(blocks), np.array([blocks[block] for block in made], np.min_scalar_type(len(blocks) - 1))


def _place_in_table(
    space: SearchSpace, site: Site, drawn: Mapping[str, NDArray[np.uint16]], part: slice
) -> NDArray[np.intp]:
    place = np.zeros((), np.intp)  # one for all where no parameter is free
    for dimension in DIMENSIONS:
        name = space.parameter(dimension, site)
        place = place * len(space.choices(name))
        if name in drawn:
            place = place + drawn[name][part].astype(np.intp)
    return place


def _prices(space: SearchSpace, site: Site, blocks: Sequence[SE | None]) -> NDArray[np.int64]:
    """What each block adds in FLOPs and parameters, and its peak of memory, one row each."""
    prices = [(0, 0, 0) if se is None else site_price(space.traced, site.name, se) for se in blocks]
    return np.array(list(zip(*prices, strict=True)), np.int64)


def _memory_one_by_one(
    space: SearchSpace, blocks: Sequence[Sequence[SE | None]], chosen: NDArray[np.unsignedinteger[Any]]
) -> NDArray[np.int64]:
    """The memory of each architecture where one site's block adds to what is alive at another's."""
    distinct, place = np.unique(chosen, axis=0, return_inverse=True)
    peaks = np.array([cost(space.traced, _architecture(space, blocks, row)).memory for row in distinct], np.int64)
    memory: NDArray[np.int64] = peaks[place.reshape(-1)]
    return memory


def _architecture(
    space: SearchSpace, blocks: Sequence[Sequence[SE | None]], row: NDArray[np.unsignedinteger[Any]]
) -> Architecture:
    found = ((site.name, offered[i]) for site, offered, i in zip(space.traced.sites, blocks, row, strict=True))
    return Architecture(space.traced.backbone, tuple((name, se) for name, se in found if se is not None))
