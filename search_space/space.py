"""The search space: what may be chosen where, and how parameters become architectures.

Six things can be chosen: whether SE is inserted, its variant, position, ratio, squeeze and excitation operator.
Each is chosen once for the network, once per stage or once per layer (its granularity). A parameter is named
after where it holds and what it decides: ``variant``, ``layer2.position``, ``layer2.0.ratio``. Parameters are
conditional: where no SE is inserted, nothing else is asked.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Protocol

from search_space.architecture import SE, Architecture
from search_space.costs import Priced, block_flops, block_params
from search_space.errors import InputError, unknown
from search_space.site import Shape, Site
from search_space.spec import DIMENSIONS, Dimension, Granularity, SpaceSpec
from search_space.variants import hidden_widths

Value = bool | int | str
Block = SE | None


class Suggester(Protocol):
    """Whatever can choose among values by name: an Optuna trial, a random generator, a fixed dictionary."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""


class Traced(Priced, Protocol):
    """A traced backbone, as far as a space needs one."""

    @property
    def sites(self) -> tuple[Site, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class CostRange:
    """The least and the most that any architecture of a space costs."""

    flops: tuple[int, int]
    params: tuple[int, int]


class SearchSpace:
    """All architectures that a specification allows on a traced backbone.

    Raises:
        InputError: the space is empty: a position is asked for that no site there has.
    """

    def __init__(self, traced: Traced, spec: SpaceSpec) -> None:
        self.traced = traced
        self.spec = spec
        self._choices = {
            self._parameter(dimension, site): self._allowed(dimension, site)
            for site in traced.sites
            for dimension in DIMENSIONS
        }

    @property
    def parameters(self) -> dict[str, tuple[Value, ...]]:
        """The choices of every parameter that has more than one, by name, in the order of the network."""
        return {name: values for name, values in self._choices.items() if len(values) > 1}

    def suggest(self, suggester: Suggester) -> Architecture:
        """The architecture that a suggester's choices make; only the parameters that matter are asked."""
        chosen: dict[str, Value] = {}

        def choose(dimension: Dimension, site: Site) -> Any:
            name = self._parameter(dimension, site)
            values = self._choices[name]
            if name not in chosen:
                free = len(values) > 1
                chosen[name] = suggester.suggest_categorical(name, list(values)) if free else values[0]
            return chosen[name]

        blocks = (
            (site.name, self._block(site, {d: choose(d, site) for d in DIMENSIONS[1:]}))
            for site in self.traced.sites
            if choose("insertion", site)
        )
        return Architecture(self.traced.backbone, tuple(blocks))

    def sample(self, rng: random.Random) -> Architecture:
        """An architecture with every parameter drawn uniformly (uniform over choices, not over networks)."""
        return self.suggest(_Random(rng))

    def decode(self, parameters: Mapping[str, Value]) -> Architecture:
        """The architecture of a complete set of parameters.

        Raises:
            InputError: a parameter is unknown, one that matters is missing, or has a value that is not offered.
        """
        for name in parameters:
            if name not in self._choices:
                raise unknown("parameter", name, self.parameters)
        return self.suggest(_Fixed(parameters))

    def encode(self, architecture: Architecture) -> dict[str, Value] | None:
        """Parameters that make an architecture, or None where the space does not contain it.

        Several encodings can make one network; this is the first in the order of the choices.
        """
        if architecture.backbone != self.traced.backbone:
            return None
        if not set(architecture.se) <= {site.name for site in self.traced.sites}:
            return None
        chosen = self._settings_of(architecture)
        if chosen is None:
            return None
        recorder = _Recorder(chosen)
        self.suggest(recorder)
        return recorder.asked

    def __contains__(self, architecture: Architecture) -> bool:
        return self.encode(architecture) is not None

    @cached_property
    def size(self) -> int:
        """The number of distinct architectures (networks, not parameter settings).

        Two settings can make one network, so settings cannot just be multiplied. A network is a block at each
        site, and it exists if some setting of the network-wide and stage-wide parameters offers all of them. So
        sites are folded one after another into counts by *which* settings still offer everything so far.
        """
        network = self._assignments("network", self.traced.sites[0])
        total: Counter[int] = Counter({(1 << len(network)) - 1: 1})
        for stage in self._stages():
            local = self._assignments("stage", stage[0])
            pairs = [outer | inner for outer in network for inner in local]
            counts: Counter[int] = Counter({(1 << len(pairs)) - 1: 1})
            for site in stage:
                counts = _intersect(counts, self._offers(site, pairs))
            total = _intersect(total, _forget_inner(counts, len(network), len(local)))
        return sum(total.values())

    @cached_property
    def cost_range(self) -> CostRange:
        """The exact range of FLOPs and parameters over the space."""
        flops, params = self._range(block_flops), self._range(block_params)
        base = self.traced
        return CostRange(
            flops=(base.flops + flops[0], base.flops + flops[1]),
            params=(base.params + params[0], base.params + params[1]),
        )

    def _parameter(self, dimension: Dimension, site: Site) -> str:
        scope = {"network": "", "stage": f"{site.stage_name}.", "layer": f"{site.name}."}
        return scope[self.spec.choice(dimension).per] + dimension

    def _allowed(self, dimension: Dimension, site: Site) -> tuple[Value, ...]:
        choice = self.spec.choice(dimension)
        if dimension != "position":
            return choice.choices
        scope = [other for other in self.traced.sites if self._shares(choice.per, site, other)]
        offered = tuple(p for p in choice.choices if all(p in other.shapes for other in scope))
        if not offered:
            raise InputError(
                f"the space is empty: position {_listed(choice.choices)} is not to be had at site {site.name} "
                f"of {self.traced.backbone.name} (it has: {', '.join(site.shapes)})"
            )
        return offered

    @staticmethod
    def _shares(per: Granularity, site: Site, other: Site) -> bool:
        return {"network": True, "stage": site.stage == other.stage, "layer": site is other}[per]

    def _block(self, site: Site, values: Mapping[str, Any]) -> SE:
        channels = site.channels(values["position"])
        return SE(
            position=values["position"],
            hidden=hidden_widths(values["variant"], channels, values["ratio"]),
            squeeze=values["squeeze"],
            excitation=values["excitation"],
            bias=self.spec.bias,
        )

    def _block_or_none(self, site: Site, setting: Mapping[str, Any]) -> Block:
        return self._block(site, setting) if setting["insertion"] else None

    def _stages(self) -> list[list[Site]]:
        stages: dict[int, list[Site]] = {}
        for site in self.traced.sites:
            stages.setdefault(site.stage, []).append(site)
        return list(stages.values())

    def _assignments(self, per: Granularity, site: Site) -> list[dict[str, Value]]:
        """Every setting of the parameters of one granularity that hold at a site."""
        dimensions = [d for d in DIMENSIONS if self.spec.choice(d).per == per]
        values = [self._choices[self._parameter(d, site)] for d in dimensions]
        return [dict(zip(dimensions, combination, strict=True)) for combination in product(*values)]

    def _blocks(self, site: Site, outer: dict[str, Value]) -> set[Block]:
        """The distinct blocks a site can have under a setting of the parameters that hold beyond it."""
        settings = (outer | inner for inner in self._assignments("layer", site))
        return {self._block_or_none(site, setting) for setting in settings}

    def _offers(self, site: Site, outer: Sequence[dict[str, Value]]) -> Counter[int]:
        """How many of a site's blocks are offered by exactly which outer settings, those as a bit set."""
        masks: dict[Block, int] = {}
        for i, setting in enumerate(outer):
            for block in self._blocks(site, setting):
                masks[block] = masks.get(block, 0) | 1 << i
        return Counter(masks.values())

    def _range(self, price: Callable[[SE, Shape], int]) -> tuple[int, int]:
        def priced(site: Site, outer: dict[str, Value]) -> list[int]:
            blocks = self._blocks(site, outer)
            return [0 if se is None else price(se, site.shape(se.position)) for se in blocks]

        def extreme(pick: Callable[[Iterator[int]], int]) -> int:
            return pick(
                sum(
                    pick(
                        sum(pick(iter(priced(site, outer | inner))) for site in stage)
                        for inner in self._assignments("stage", stage[0])
                    )
                    for stage in self._stages()
                )
                for outer in self._assignments("network", self.traced.sites[0])
            )

        return extreme(min), extreme(max)

    def _settings_of(self, architecture: Architecture) -> dict[str, Value] | None:
        """A setting of every parameter that makes an architecture, if there is one.

        Once the network-wide and the stage-wide parameters are set, each site can be looked at alone.
        """
        for network in self._assignments("network", self.traced.sites[0]):
            stages = [self._settings_of_stage(stage, network, architecture) for stage in self._stages()]
            if None not in stages:
                return {name: value for stage in stages if stage for name, value in stage.items()}
        return None

    def _settings_of_stage(
        self, stage: Sequence[Site], network: dict[str, Value], architecture: Architecture
    ) -> dict[str, Value] | None:
        for local in self._assignments("stage", stage[0]):
            sites = [self._settings_of_site(site, network | local, architecture) for site in stage]
            if None not in sites:
                return {name: value for site in sites if site for name, value in site.items()}
        return None

    def _settings_of_site(
        self, site: Site, outer: dict[str, Value], architecture: Architecture
    ) -> dict[str, Value] | None:
        wanted = architecture.se.get(site.name)
        for inner in self._assignments("layer", site):
            setting = outer | inner
            if self._block_or_none(site, setting) == wanted:
                return {self._parameter(dimension, site): setting[dimension] for dimension in DIMENSIONS}
        return None


def _intersect(left: Counter[int], right: Counter[int]) -> Counter[int]:
    """Counts of pairs by the settings that offer both; pairs that no setting offers are dropped."""
    both: Counter[int] = Counter()
    for a, n in left.items():
        for b, m in right.items():
            if a & b:
                both[a & b] += n * m
    return both


def _forget_inner(counts: Counter[int], outer: int, inner: int) -> Counter[int]:
    """From (outer, inner) settings to the outer ones: offered there if any inner setting offers it."""
    group = (1 << inner) - 1
    forgotten: Counter[int] = Counter()
    for mask, n in counts.items():
        forgotten[sum(1 << i for i in range(outer) if mask >> (i * inner) & group)] += n
    return forgotten


def _listed(values: Sequence[Value]) -> str:
    return " or ".join(f"'{value}'" for value in values)


@dataclass(frozen=True)
class _Random:
    rng: random.Random

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.rng.choice(choices)


@dataclass(frozen=True)
class _Fixed:
    values: Mapping[str, Value]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if name not in self.values:
            raise InputError(f"parameter {name} is missing (choices: {', '.join(map(str, choices))})")
        given = self.values[name]
        for choice in choices:
            # True == 1 == 1.0, but they do not make the same architecture.
            if choice == given and type(choice) is type(given):
                return choice
        raise InputError(f"parameter {name} is {given!r}, not one of {choices}")


class _Recorder:
    """Chooses fixed values and remembers which were asked for: those that matter."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values
        self.asked: dict[str, Value] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked[name] = self._values[name]
        return self.asked[name]
