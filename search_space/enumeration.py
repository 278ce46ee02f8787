"""Every architecture of a space once, in order, without remembering any.

Several settings can make one network, so it is given at the first of them, which is its encoding. To tell, the settings
that would also make the blocks chosen so far are kept as a bit set, as where a space's size is counted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import NamedTuple

from search_space.architecture import SE, Architecture
from search_space.constraints import Bounds, quantities
from search_space.costs import BlockCost, Cost, site_price
from search_space.several import SeveralBackbones
from search_space.site import Site
from search_space.space import Block, SearchSpace, Setting

Bits = int
"""A set of settings, by number; the first is the lowest."""
Interval = tuple[int, int]
Placed = tuple[tuple[str, SE], ...]


def enumerate_architectures(space: SearchSpace | SeveralBackbones) -> Iterator[Architecture]:
    """The distinct architectures that meet the constraints, each made when it is asked for.

    They come in lexicographic order of their encodings: network-wide settings in the order of the choices, then stage
    by stage, within a stage its settings and then site by site; of several backbones one after another.
    """
    for one in space.spaces.values() if isinstance(space, SeveralBackbones) else [space]:
        yield from filter(one.is_feasible, _Tree(one).leaves())


class _State(NamedTuple):
    """How far an architecture is chosen: settings by number, and the sites of the stage that are done.

    A setting of a stage is one of the network with one of the stage. ``networks`` and ``settings`` are those that
    make all blocks before this stage, and those of this stage that make its blocks so far.
    """

    network: int
    stage: int
    setting: int
    sites: int
    networks: Bits
    settings: Bits


class _Node(NamedTuple):
    state: _State
    blocks: Placed


class _Stage:
    """The settings of a stage's sites, and the blocks that they make."""

    def __init__(self, space: SearchSpace, sites: Sequence[Site], networks: Sequence[Setting]) -> None:
        pairs = [
            (n, outer | s) for n, outer in enumerate(networks) for s in space.assignments("stage", sites[0], outer)
        ]
        self.sites = sites
        self.settings = len(pairs)
        self.under = [[i for i, (n, _) in enumerate(pairs) if n == network] for network in range(len(networks))]
        self.bits_under = [_bits(settings) for settings in self.under]
        self.blocks = [[space.blocks(site, setting) for _, setting in pairs] for site in sites]
        self.makers = [_makers(by_setting) for by_setting in self.blocks]

    def networks(self, settings: Bits) -> Bits:
        """The network-wide settings that some settings of the stage go with."""
        return _bits(n for n, under in enumerate(self.bits_under) if under & settings)


class _Tree:
    """The choices of a space from the first to the last."""

    def __init__(self, space: SearchSpace) -> None:
        networks = list(space.assignments("network", space.traced.sites[0], {}))
        self._backbone = space.traced.backbone
        self._networks = range(len(networks))
        self._stages = [_Stage(space, sites, networks) for sites in space.stages]
        self._budget = _Budget(space, self._stages) if space.spec.constraints else None

    def leaves(self) -> Iterator[Architecture]:
        """Depth first, and without recursion: there are networks with more sites than the stack has room for."""
        every = _bits(self._networks)
        roots = (self._begin_stage(0, network, every, ()) for network in self._networks)
        path: list[Iterator[_Node]] = [chain.from_iterable(roots)]
        while path:
            node = next(path[-1], None)
            if node is None:
                path.pop()
            elif not self._is_first(node.state) or (self._budget and not self._budget.may_be_met(node)):
                continue
            elif self._is_complete(node.state):
                yield Architecture(self._backbone, node.blocks)
            else:
                path.append(self._go_on(node))

    def _begin_stage(self, number: int, network: int, networks: Bits, blocks: Placed) -> Iterator[_Node]:
        stage = self._stages[number]
        every = _bits(range(stage.settings))
        for setting in stage.under[network]:
            yield _Node(_State(network, number, setting, 0, networks, every), blocks)

    def _go_on(self, node: _Node) -> Iterator[_Node]:
        state, stage = node.state, self._stages[node.state.stage]
        if self._ends_stage(state):
            yield from self._begin_stage(state.stage + 1, state.network, self._networks_making(state), node.blocks)
            return
        name = stage.sites[state.sites].name
        for se in stage.blocks[state.sites][state.setting]:
            settings = state.settings & stage.makers[state.sites][se]
            more = () if se is None else ((name, se),)
            yield _Node(state._replace(sites=state.sites + 1, settings=settings), node.blocks + more)

    def _is_first(self, state: _State) -> bool:
        """Whether no earlier setting makes the same; known where a stage ends, and of the network where all do.

        What is found out late is found often enough: each network was given before under an earlier setting, so
        there are no more in vain than the settings of the network and of a stage for each one given.
        """
        if not self._ends_stage(state):
            return True
        in_stage = _lowest(state.settings & self._stages[state.stage].bits_under[state.network])
        if in_stage != state.setting:
            return False
        return not self._is_complete(state) or _lowest(self._networks_making(state)) == state.network

    def _networks_making(self, state: _State) -> Bits:
        return state.networks & self._stages[state.stage].networks(state.settings)

    def _ends_stage(self, state: _State) -> bool:
        return state.sites == len(self._stages[state.stage].sites)

    def _is_complete(self, state: _State) -> bool:
        return state.stage == len(self._stages) - 1 and self._ends_stage(state)


class _Budget:
    """Whether what is chosen can still meet the constraints on FLOPs and parameters, as far as bounds tell."""

    def __init__(self, space: SearchSpace, stages: Sequence[_Stage]) -> None:
        self._traced = space.traced
        self._constraints = space.spec.constraints
        self._flops = _Ahead(space, stages, lambda price: price.flops)
        self._params = _Ahead(space, stages, lambda price: price.params)

    def may_be_met(self, node: _Node) -> bool:
        """False only where no rest of the network meets the constraints."""
        spent = [site_price(self._traced, name, se) for name, se in node.blocks]
        flops = [sum(price.flops for price in spent) + ahead for ahead in self._flops.interval(node.state)]
        params = [sum(price.params for price in spent) + ahead for ahead in self._params.interval(node.state)]
        low, high = (quantities(self._cost(*shares)) for shares in zip(flops, params, strict=True))
        bounds: dict[str, Bounds] = {quantity: getattr(self._constraints, quantity) for quantity in low}
        # Memory is no sum over blocks.
        return all(_overlaps(bounds[q], low[q], high[q]) for q in low if q != "memory")

    def _cost(self, flops: int, params: int) -> Cost:
        return Cost(self._traced.flops + flops, self._traced.params + params, 0, flops, params)


class _Ahead:
    """The least and the most of a figure that the rest of a network adds up to."""

    def __init__(self, space: SearchSpace, stages: Sequence[_Stage], figure: Callable[[BlockCost], int]) -> None:
        def extremes(site: Site, blocks: Iterable[Block]) -> Interval:
            return _hull([0 if se is None else figure(site_price(space.traced, site.name, se)) for se in blocks])

        self._in_stage = []
        for stage in stages:
            by_site = zip(stage.sites, stage.blocks, strict=True)
            here = [[extremes(site, blocks) for blocks in by_setting] for site, by_setting in by_site]
            self._in_stage.append(_sums_from_each_on(here, stage.settings))
        whole = [
            [_hull([figure for i in settings for figure in in_stage[0][i]]) for settings in stage.under]
            for stage, in_stage in zip(stages, self._in_stage, strict=True)
        ]
        self._after = _sums_from_each_on(whole, len(stages[0].under))

    def interval(self, state: _State) -> Interval:
        """From the least to the most."""
        here = self._in_stage[state.stage][state.sites][state.setting]
        after = self._after[state.stage + 1][state.network]
        return here[0] + after[0], here[1] + after[1]


def _makers(blocks: Iterable[Iterable[Block]]) -> dict[Block, Bits]:
    """The settings that make each block, from the blocks of each setting."""
    makers: dict[Block, Bits] = {}
    for setting, made in enumerate(blocks):
        for se in made:
            makers[se] = makers.get(se, 0) | 1 << setting
    return makers


def _sums_from_each_on(rows: Sequence[list[Interval]], columns: int) -> list[list[Interval]]:
    """The sum, by column, of the rows from each on, and last that of none."""
    return list(accumulate(reversed(rows), _sums, initial=[(0, 0)] * columns))[::-1]


def _sums(left: Sequence[Interval], right: Sequence[Interval]) -> list[Interval]:
    return [(a[0] + b[0], a[1] + b[1]) for a, b in zip(left, right, strict=True)]


def _hull(figures: Sequence[int]) -> Interval:
    return min(figures), max(figures)


def _overlaps(bounds: Bounds, low: float, high: float) -> bool:
    return (bounds.min is None or high >= bounds.min) and (bounds.max is None or low <= bounds.max)


def _bits(numbers: Iterable[int]) -> Bits:
    return sum(1 << number for number in numbers)


def _lowest(bits: Bits) -> int:
    """The lowest number in a set; -1 if it is empty."""
    return (bits & -bits).bit_length() - 1
