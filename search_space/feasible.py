"""Sampling under constraints, without drawing and rejecting.

A space is a sequence of choices: for the network, for each stage, for each site of a stage. For every place in that
sequence it is reckoned beforehand what can still be added to the cost by all that follows, as a set of intervals.
Choices are then made from the top down, each only among those from which the bounds can still be met. The sets never
lack a cost that can be had. But where they would be too large, or where several quantities have to fit together,
they can promise one that cannot: then choices are taken back.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_space.architecture import SE, Architecture
from search_space.constraints import Quantity, quantities
from search_space.costs import Cost, cost, site_price
from search_space.errors import InputError

if TYPE_CHECKING:
    from search_space.site import Site
    from search_space.space import SearchSpace

Axis = Literal["flops", "params", "flops without params", "memory"]
"""What is reckoned with: sums over the blocks, but of memory the greatest peak.

The difference is there because most of what decides FLOPs decides parameters as well: bounds on both mean more
together than each alone.
"""

Entry = tuple[str, SE]
Figures = tuple[int, ...]
"""A number for each of some axes."""

AXES: tuple[Axis, ...] = ("flops", "params", "flops without params", "memory")
MEMORY = AXES.index("memory")
AXIS_OF: dict[Quantity, Axis] = {
    "flops": "flops",
    "params": "params",
    "memory": "memory",
    "flops_overhead": "flops",
    "params_overhead": "params",
}
LEAST_INTERVALS = 512
MOST_PIECES = 8_000_000
"""How many intervals may be joined in reckoning an axis: few seconds' work at the worst, and exact where it matters."""

FIRST_PATIENCE = 20_000
MOST_PATIENCE = 1_000_000
"""How many options a search may look at before it gives up: a few seconds' work."""

UNBOUNDED = 1 << 60
"""More than anything costs."""


class Window(NamedTuple):
    """The least and the most that a figure may come to."""

    low: int = -UNBOUNDED
    high: int = UNBOUNDED


class FeasibleSampler:
    """Draws architectures of a space that meet its constraints.

    Parameters are drawn in the order network, stages, sites, and each uniformly from the values from which the bounds
    can still be met, as far as the sets of costs tell. Where all values can, that is how a space without constraints
    is sampled.

    Attributes:
        steps: how many options all searches so far have looked at.

    Raises:
        InputError: no architecture meets the constraints, or a long search has found none.
    """

    def __init__(self, space: "SearchSpace") -> None:
        self.steps = 0
        self._space = space
        self._choices = _Choices(space)
        self._windows = {quantity: _window(space, quantity) for quantity in AXIS_OF if _is_bounded(space, quantity)}
        try:
            found = self._search(self._windows.items(), random.Random(0), MOST_PATIENCE)
        except _OutOfPatienceError:
            found = None
        if found is None:
            raise InputError(self._why_empty())

    def sample(self, rng: random.Random) -> Architecture:
        """An architecture that meets the constraints."""
        found = self._search(self._windows.items(), rng)
        assert found is not None, "there is one: the constructor has found it"
        return found

    def _search(
        self, windows: Iterable[tuple[Quantity, Window]], rng: random.Random, most_patience: float = float("inf")
    ) -> Architecture | None:
        """An architecture with its quantities in the windows; None if there is none.

        Raises:
            _OutOfPatienceError: nothing was found, but not everything tried.
        """
        search = _Search(self._space, self._choices, _by_axis(windows))
        patience = FIRST_PATIENCE
        while True:
            try:
                return search.run(rng, patience)
            except _OutOfPatienceError:
                # A choice that was wrong early on is come back to last: sooner found is another start.
                patience *= 2
                if patience > most_patience:
                    raise
            finally:
                self.steps += search.steps

    def _why_empty(self) -> str:
        """One line on the fewest constraints that cannot be met together, and what comes nearest to meeting them."""
        sizes = range(1, len(self._windows) + 1)
        for together in (chosen for size in sizes for chosen in combinations(self._windows, size)):
            try:
                if self._search(self._windows_of(together), random.Random(0), MOST_PATIENCE) is None:
                    return f"no architecture of the space has {self._asked(together)}: {self._nearest(together)}"
            except _OutOfPatienceError:
                continue
        every = tuple(self._windows)
        return f"no architecture of the space was found that has {self._asked(every)}: {self._nearest(every)}"

    def _windows_of(self, chosen: Iterable[Quantity]) -> list[tuple[Quantity, Window]]:
        return [(quantity, self._windows[quantity]) for quantity in chosen]

    def _asked(self, chosen: Iterable[Quantity]) -> str:
        return " and ".join(
            f"{quantity} of {' and '.join(f'at {end} {bound:.12g}' for end, _, bound in _ends(self._space, quantity))}"
            for quantity in chosen
        )

    def _nearest(self, together: Sequence[Quantity]) -> str:
        """Which values of the first quantity come nearest to its bounds while the others' hold."""
        quantity, *others = together
        low, high = self._windows[quantity]
        below, no_nearer_below = self._last_value(quantity, others, Window(high=low - 1))
        above, no_nearer_above = self._last_value(quantity, others, Window(low=high + 1))
        what = f" {quantity}" if others else ""
        found = "" if no_nearer_below and no_nearer_above else " found"
        if below is not None and above is not None:
            values = f"the nearest{what}{found} are {below} below and {above} above"
        elif above is not None:
            values = f"the least{what}{found} is {above}"
        elif below is not None:
            values = f"the most{what}{found} is {below}"
        else:
            values = f"no nearest{what} was found"
        where = f"with {self._asked(others)} " if others else ""
        keys = [f"constraints.{q}.{key}" for q in together for _, key, _ in _ends(self._space, q)]
        return f"{where}{values} ({', '.join(keys)})"

    def _last_value(self, quantity: Quantity, others: Iterable[Quantity], window: Window) -> tuple[float | None, bool]:
        """The value in a window nearest to its bounded end, while others' bounds hold; and whether that is proven.

        Each architecture that is found leaves only those that are nearer to look for, of which it is a random one:
        the number of values left is halved time and again.
        """
        last, rng, kept, upwards = None, random.Random(0), self._windows_of(others), window.high < UNBOUNDED
        try:
            while found := self._search([*kept, (quantity, window)], rng, MOST_PATIENCE):
                priced = cost(self._space.traced, found)
                last, figure = quantities(priced)[quantity], _figure(quantity, priced)
                window = window._replace(low=figure + 1) if upwards else window._replace(high=figure - 1)
        except _OutOfPatienceError:
            return last, False
        return last, True


class _OutOfPatienceError(Exception):
    """A search has looked at as many options as it was allowed."""


def _is_bounded(space: "SearchSpace", quantity: Quantity) -> bool:
    return any(True for _ in _ends(space, quantity))


def _ends(space: "SearchSpace", quantity: Quantity) -> Iterator[tuple[str, str, float]]:
    """The bounds of a quantity: in words, by the key, and the value."""
    bounds = getattr(space.spec.constraints, quantity)
    if bounds.min is not None:
        yield "least", "min", bounds.min
    if bounds.max is not None:
        yield "most", "max", bounds.max


def _window(space: "SearchSpace", quantity: Quantity) -> Window:
    """What the bounds of a quantity leave to its axis: exactly those figures with which they would be found met."""
    bounds, base = getattr(space.spec.constraints, quantity), space.traced
    value: Callable[[int], float] = {
        "flops": lambda blocks: base.flops + blocks,
        "params": lambda blocks: base.params + blocks,
        "memory": lambda peak: peak,
        "flops_overhead": lambda blocks: blocks / base.flops,
        "params_overhead": lambda blocks: blocks / base.params,
    }[quantity]
    figures = range(UNBOUNDED)
    return Window(
        -UNBOUNDED if bounds.min is None else bisect_left(figures, bounds.min, key=value),
        UNBOUNDED if bounds.max is None else bisect_right(figures, bounds.max, key=value) - 1,
    )


def _figure(quantity: Quantity, priced: Cost) -> int:
    """Where a cost lies on the axis of a quantity."""
    figures: dict[Axis, int] = {"flops": priced.se_flops, "params": priced.se_params, "memory": priced.memory}
    return figures[AXIS_OF[quantity]]


def _by_axis(windows: Iterable[tuple[Quantity, Window]]) -> dict[Axis, Window]:
    found: dict[Axis, Window] = {}
    for quantity, (low, high) in windows:
        before = found.get(AXIS_OF[quantity], Window())
        found[AXIS_OF[quantity]] = Window(max(low, before.low), min(high, before.high))
    if "flops" in found and "params" in found:
        flops, params = found["flops"], found["params"]
        found["flops without params"] = Window(flops.low - params.high, flops.high - params.low)
    return found


# the choices


@dataclass(frozen=True, eq=False)
class _Option:
    """One thing that can be chosen at a place: a setting, or a block.

    Attributes:
        entry: the block and its site; None for a setting, and where there is no block.
        figures: what it costs, on every axis.
        then: the place where the next choice is made.
    """

    entry: Entry | None
    figures: Figures
    then: "_Place"


_Tree = list[Any]
"""Options by the values of one dimension after another: lists in lists, with options at their ends."""


@dataclass(frozen=True, eq=False)
class _Place:
    """A place in the sequence of choices; the last one has no options.

    Attributes:
        options: as a tree, so that each parameter can be drawn uniformly.
        kind: a number that places share from which the same costs can be added.
    """

    options: _Tree
    kind: int


class _Choices:
    """All choices that a space has, from the network's to the last site's, and what they can add to the cost."""

    def __init__(self, space: "SearchSpace") -> None:
        self._space = space
        self._kinds: dict[frozenset[tuple[Figures, int]], int] = {}
        self._reach: dict[Axis, list[_Intervals]] = {}
        self.root = self._network()

    def reach(self, axis: Axis) -> "list[_Intervals]":
        """What the choices from a place on can add on an axis, for each kind of place."""
        if axis not in self._reach:
            index = AXES.index(axis)
            join = np.maximum if axis == "memory" else np.add
            unit = gcd(*(figures[index] for moves in self._kinds for figures, _ in moves)) or 1
            sets: list[_Intervals] = []
            steps = [{(figures[index] // unit, kind) for figures, kind in moves} for moves in self._kinds]
            most = max(LEAST_INTERVALS, MOST_PIECES // sum(map(len, steps)))
            for moves in steps:  # in the order of their numbers: what follows a place comes before it
                following: dict[int, list[int]] = {}
                for added, kind in sorted(moves):
                    following.setdefault(kind, []).append(added)
                parts = [sets[kind].joined(join, added) for kind, added in following.items()]
                sets.append(_Intervals.of(parts or [(np.zeros(1, int), np.zeros(1, int))], unit, most))
            self._reach[axis] = sets
        return self._reach[axis]

    def _network(self) -> _Place:
        end, first = self._place([]), self._space.traced.sites[0]
        return self._place(
            [
                (setting, _Option(None, _figures(), self._stages(setting, end)))
                for setting in self._space.assignments("network", first, {})
            ]
        )

    def _stages(self, network: Mapping[str, Any], end: _Place) -> _Place:
        then = end
        for stage in reversed(self._space.stages):
            then = self._place(
                [
                    (setting, _Option(None, _figures(), self._sites(stage, {**network, **setting}, then)))
                    for setting in self._space.assignments("stage", stage[0], dict(network))
                ]
            )
        return then

    def _sites(self, stage: "Sequence[Site]", outer: dict[str, Any], then: _Place) -> _Place:
        for site in reversed(stage):
            settings = self._space.assignments("layer", site, outer)
            then = self._place([(setting, self._block(site, outer | setting, then)) for setting in settings])
        return then

    def _block(self, site: "Site", setting: dict[str, Any], then: _Place) -> _Option:
        se = self._space.block_at(site, setting)
        if se is None:
            return _Option(None, _figures(), then)
        return _Option((site.name, se), _figures(*site_price(self._space.traced, site.name, se)), then)

    def _place(self, options: Sequence[tuple[Mapping[str, Any], _Option]]) -> _Place:
        moves = frozenset((option.figures, option.then.kind) for _, option in options)
        kind = self._kinds.setdefault(moves, len(self._kinds))
        return _Place(_by_value([(tuple(setting.values()), option) for setting, option in options]), kind)


def _figures(flops: int = 0, params: int = 0, memory: int = 0) -> Figures:
    return flops, params, flops - params, memory


def _by_value(options: Sequence[tuple[tuple[Any, ...], _Option]]) -> _Tree:
    if len(options) <= 1:
        return [option for _, option in options]
    groups: dict[Any, list[tuple[tuple[Any, ...], _Option]]] = {}
    for (value, *others), option in options:
        groups.setdefault(value, []).append((tuple(others), option))
    return [_by_value(group) for group in groups.values()]


def _in_random_order(tree: _Tree, rng: random.Random) -> Iterator[_Option]:
    """The options, so that the first of any subset of them is one drawn value by value, each uniformly."""
    for branch in rng.sample(tree, len(tree)):
        if isinstance(branch, _Option):
            yield branch
        else:
            yield from _in_random_order(branch, rng)


@dataclass(frozen=True)
class _Intervals:
    """Whole numbers, multiples of a unit, as intervals in ascending order; perhaps some more than were meant."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    unit: int

    @classmethod
    def of(cls, parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], unit: int, most: int) -> "_Intervals":
        """The union of intervals in units, given as starts and ends; if too many are left, the smallest gaps close."""
        starts, ends = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        gaps = starts[1:] - ends[:-1]
        apart = gaps > 1
        if np.count_nonzero(apart) >= most:
            apart = gaps > np.partition(gaps, -most)[-most]
        return cls(starts[np.append(True, apart)], ends[np.append(apart, True)], unit)

    def joined(
        self, join: Callable[[Any, Any], Any], added: Sequence[int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The starts and ends of what joining each of the numbers with each of some others, in units, makes."""
        others = np.array(added)[:, None]
        return join(self.starts, others).ravel(), join(self.ends, others).ravel()

    def meet(self, low: int, high: int) -> bool:
        """Whether any of the numbers lies in a window."""
        before = int(self.starts.searchsorted(high // self.unit, "right"))
        return before > 0 and int(self.ends[before - 1]) >= -(-low // self.unit)


# the search


@dataclass(frozen=True)
class _Step:
    """A place that a search has come to: what led there, what it costs, and what has not been tried there."""

    entry: Entry | None
    figures: Figures
    place: _Place
    untried: Iterator[_Option]


class _Search:
    """A search for architectures with their figures in windows, depth first and in random order.

    Attributes:
        steps: how many options the last run has looked at.
    """

    def __init__(self, space: "SearchSpace", choices: _Choices, windows: Mapping[Axis, Window]) -> None:
        self.steps = 0
        self._space = space
        self._root = choices.root
        self._axes = [(axis, choices.reach(axis), window) for axis, window in windows.items()]
        self._indices = [AXES.index(axis) for axis in windows]
        self._memory_at = list(windows).index("memory") if "memory" in windows else None
        # Then what a block does to memory depends on the blocks elsewhere, and a peak is only the least it can come to.
        self._peaks_depend = "memory" in windows and space.traced.spans_overlap

    def run(self, rng: random.Random, patience: int) -> Architecture | None:
        """An architecture; None if there is none.

        Raises:
            _OutOfPatienceError: none was found among so many options.
        """
        self.steps = 0
        start = tuple(self._space.traced.memory if axis == "memory" else 0 for axis, *_ in self._axes)
        if not self._can_be_met(start, self._root):
            return None
        seen: set[tuple[int, Figures]] = set()
        trail = [_Step(None, start, self._root, _in_random_order(self._root.options, rng))]
        while trail:
            option = next(trail[-1].untried, None)
            if option is None:
                trail.pop()
                continue
            self.steps += 1
            if self.steps > patience:
                raise _OutOfPatienceError
            figures = self._figures_after(trail, option)
            state = (option.then.kind, figures)
            if state in seen and not self._peaks_depend:
                continue
            seen.add(state)
            if not self._can_be_met(figures, option.then):
                continue
            trail.append(_Step(option.entry, figures, option.then, _in_random_order(option.then.options, rng)))
            if not option.then.options:
                return self._architecture(step.entry for step in trail)
        return None

    def _figures_after(self, trail: Sequence[_Step], option: _Option) -> Figures:
        figures = option.figures
        after = [so_far + figures[index] for so_far, index in zip(trail[-1].figures, self._indices, strict=True)]
        if self._memory_at is not None:
            peak = max(trail[-1].figures[self._memory_at], figures[MEMORY])
            if self._peaks_depend and option.entry:
                built = self._architecture([*(step.entry for step in trail), option.entry])
                peak = cost(self._space.traced, built).memory
            after[self._memory_at] = peak
        return tuple(after)

    def _can_be_met(self, figures: Figures, place: _Place) -> bool:
        """Whether what follows a place can bring the figures into their windows, as far as each alone tells."""
        for (axis, reach, (low, high)), figure in zip(self._axes, figures, strict=True):
            if axis != "memory":
                possible = reach[place.kind].meet(low - figure, high - figure)
            elif figure >= low or (self._peaks_depend and place.options):
                possible = figure <= high and reach[place.kind].meet(-UNBOUNDED, high)
            else:
                possible = reach[place.kind].meet(low, high)
            if not possible:
                return False
        return True

    def _architecture(self, entries: Iterable[Entry | None]) -> Architecture:
        return Architecture(self._space.traced.backbone, tuple(filter(None, entries)))
