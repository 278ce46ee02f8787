"""The search space: what may be chosen where, and how parameters become architectures.

Six things can be chosen: whether SE is inserted, its variant, position, ratio, squeeze and excitation operator.
Each is chosen once for the network, once per stage or once per layer (its granularity). A parameter is named
after where it holds and what it decides: ``variant``, ``layer2.position``, ``layer2.0.ratio``. Parameters are
conditional: where no SE is inserted nothing else is asked, and of a variant only what it has a use for.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from search_space.architecture import SE, Architecture
from search_space.costs import BlockCost, Priced, cost, site_price
from search_space.errors import InputError, unknown
from search_space.feasible import FeasibleSampler
from search_space.site import Site, common_positions, nearest_position
from search_space.spec import DIMENSIONS, Dimension, Granularity, SpaceSpec
from search_space.uniform_architectures import check_ratio
from search_space.variants import Options, block, variant

Value = bool | int | str
Block = SE | None
Setting = dict[str, Any]
"""A value for each of some dimensions."""


class Suggester(Protocol):
    """Whatever can choose among values by name: an Optuna trial, a random generator, a fixed dictionary."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""


class Traced(Priced, Protocol):
    """A traced backbone, as far as a space needs one."""

    @property
    def sites(self) -> tuple[Site, ...]: ...  # noqa: D102
    @property
    def spans_overlap(self) -> bool:
        """Whether blocks at different sites can be alive together."""


@dataclass(frozen=True)
class CostRange:
    """The least and the most that any architecture of a space costs, its constraints apart."""

    flops: tuple[int, int]
    params: tuple[int, int]
    memory: tuple[int, int]


class SearchSpace:
    """All architectures that a specification allows on a traced backbone.

    Raises:
        InputError: the space is empty: a position is asked for that no site there has, or nothing meets the
            constraints; or a place or a ratio in it makes no sense for this backbone.
    """

    def __init__(self, traced: Traced, spec: SpaceSpec) -> None:
        self.traced = traced
        self.spec = spec
        self._check_places()
        self._choices = {
            self.parameter(dimension, site): self._allowed(dimension, site)
            for site in traced.sites
            for dimension in DIMENSIONS
        }
        self._check_ratios()
        self._feasible = FeasibleSampler(self) if spec.constraints else None

    @property
    def parameters(self) -> dict[str, tuple[Value, ...]]:
        """The choices of every parameter that has more than one, by name, in the order of the network."""
        return {name: values for name, values in self._choices.items() if len(values) > 1}

    def suggest(self, suggester: Suggester) -> Architecture:
        """The architecture that a suggester's choices make; only the parameters that matter are asked.

        It need not meet the constraints.
        """
        chosen: dict[str, Value] = {}

        def choose(dimension: Dimension, site: Site) -> Any:
            name = self.parameter(dimension, site)
            values = self._choices[name]
            if name not in chosen:
                free = len(values) > 1
                chosen[name] = suggester.suggest_categorical(name, list(values)) if free else values[0]
            return chosen[name]

        blocks = []
        for site in self.traced.sites:
            setting: Setting = {}
            for dimension in DIMENSIONS:
                if _matters(dimension, setting):
                    setting[dimension] = choose(dimension, site)
            if setting["insertion"]:
                blocks.append((site.name, self._block(site, setting)))
        return Architecture(self.traced.backbone, tuple(blocks))

    def sample(self, rng: random.Random) -> Architecture:
        """An architecture that meets the constraints, parameters drawn uniformly from what still can.

        It is uniform over choices, not over networks.
        """
        return self.suggest(_Random(rng)) if self._feasible is None else self._feasible.sample(rng)

    def decode(self, parameters: Mapping[str, Value]) -> Architecture:
        """The architecture of a complete set of parameters.

        Raises:
            InputError: a parameter is unknown, one that matters is missing, or has a value that is not offered.
        """
        fixed = _Fixed(parameters)
        for name in parameters:
            if name not in self._choices:
                raise unknown("parameter", name, self.parameters)
            if len(self._choices[name]) == 1:
                fixed.suggest_categorical(name, self._choices[name])
        return self.suggest(fixed)

    def encode(self, architecture: Architecture) -> dict[str, Value] | None:
        """Parameters that make an architecture, or None where none do; constraints apart.

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
        return self.why_not(architecture) is None

    def is_feasible(self, architecture: Architecture) -> bool:
        """Whether an architecture of this backbone meets the constraints."""
        return not self.spec.constraints or not any(self.spec.constraints.violations(cost(self.traced, architecture)))

    def why_not(self, architecture: Architecture) -> str | None:
        """Why the space does not hold an architecture; None if it does."""
        if architecture.backbone != self.traced.backbone:
            return f"it is of the backbone {architecture.backbone}, the space of {self.traced.backbone}"
        known = {site.name: site for site in self.traced.sites}
        for name in architecture.se:
            if name not in known:
                return str(unknown(f"site of {self.traced.backbone.name}", name, known))
        if self.encode(architecture) is None:
            reasons = (self._why_not_here(site, architecture.se.get(site.name)) for site in self.traced.sites)
            shared = [d for d in DIMENSIONS if self.spec.choice(d).per != "layer"]
            together = "each of its blocks is offered, but not all together: " + ", ".join(
                f"{dimension} is chosen per {self.spec.choice(dimension).per}" for dimension in shared
            )
            return next(filter(None, reasons), together)
        return next(self.spec.constraints.violations(cost(self.traced, architecture)), None)

    @cached_property
    def size(self) -> int:
        """The number of distinct architectures (networks, not parameter settings), constraints apart.

        Two settings can make one network, so settings cannot just be multiplied. A network is a block at each
        site, and it exists if some setting of the network-wide and stage-wide parameters offers all of them. So
        sites are folded one after another into counts by *which* settings still offer everything so far.
        """
        network = list(self.assignments("network", self.traced.sites[0], {}))
        total: Counter[int] = Counter({(1 << len(network)) - 1: 1})
        for stage in self.stages:
            pairs = [(i, o | s) for i, o in enumerate(network) for s in self.assignments("stage", stage[0], o)]
            counts: Counter[int] = Counter({(1 << len(pairs)) - 1: 1})
            for site in stage:
                counts = _intersect(counts, self._offers(site, [setting for _, setting in pairs]))
            total = _intersect(total, _forget_inner(counts, [outer for outer, _ in pairs]))
        return sum(total.values())

    @cached_property
    def cost_range(self) -> CostRange:
        """The exact range of FLOPs, parameters and memory over the space, constraints apart."""
        flops, params = self._range(lambda price: price.flops), self._range(lambda price: price.params)
        peaks = [site_price(self.traced, site.name, se).memory for site, se in self.all_blocks()]
        base = self.traced
        return CostRange(
            flops=(base.flops + flops[0], base.flops + flops[1]),
            params=(base.params + params[0], base.params + params[1]),
            memory=(max(base.memory, self._range(lambda price: price.memory, max)[0]), max([base.memory, *peaks])),
        )

    @cached_property
    def stages(self) -> list[list[Site]]:
        """The sites by stage, in the order of the network."""
        stages: dict[int, list[Site]] = {}
        for site in self.traced.sites:
            stages.setdefault(site.stage, []).append(site)
        return list(stages.values())

    def assignments(self, per: Granularity, site: Site, outer: Setting) -> Iterator[Setting]:
        """Every setting of the dimensions of one granularity at a site, under those that hold beyond it.

        A dimension that does not matter under the others has its first value, so that no two settings differ in
        nothing that matters. They come in the order of the choices.
        """

        def extend(chosen: Setting, dimensions: Sequence[Dimension]) -> Iterator[Setting]:
            if not dimensions:
                yield chosen
                return
            dimension, *rest = dimensions
            values = self._choices[self.parameter(dimension, site)]
            for value in values if _matters(dimension, outer | chosen) else values[:1]:
                yield from extend(chosen | {dimension: value}, rest)

        yield from extend({}, [d for d in DIMENSIONS if self.spec.choice(d).per == per])

    def blocks(self, site: Site, outer: Setting) -> list[Block]:
        """The distinct blocks a site can have under a setting of the dimensions that hold beyond it."""
        settings = (outer | inner for inner in self.assignments("layer", site, outer))
        return list(dict.fromkeys(self.block_at(site, setting) for setting in settings))

    def block_at(self, site: Site, setting: Mapping[str, Any]) -> Block:
        """The block that a complete setting makes at a site; None where it inserts none."""
        return self._block(site, setting) if setting["insertion"] else None

    def all_blocks(self) -> Iterator[tuple[Site, SE]]:
        """Every block that the space offers, with its site; repeats included."""
        for site in self.traced.sites:
            for network in self.assignments("network", site, {}):
                for local in self.assignments("stage", site, network):
                    yield from ((site, se) for se in self.blocks(site, network | local) if se is not None)

    def parameter(self, dimension: Dimension, site: Site) -> str:
        """The name of the parameter that decides a dimension at a site."""
        scope = {"network": "", "stage": f"{site.stage_name}.", "layer": f"{site.name}."}
        return scope[self.spec.choice(dimension).per] + dimension

    def choices(self, name: str) -> tuple[Value, ...]:
        """The values that a parameter has to choose from, also where it is but one."""
        return self._choices[name]

    def _allowed(self, dimension: Dimension, site: Site) -> tuple[Value, ...]:
        choice = self.spec.choice(dimension)
        values = self._values_at(dimension, site)
        if dimension != "position":
            return values
        scope = [other for other in self.traced.sites if _is_in_scope(choice.per, site, other)]
        scope = [other for other in scope if any(self._values_at("insertion", other))]
        offered = common_positions(scope, values, self.traced.sites)
        if not offered:
            lacking = next(other for other in scope if not set(values) <= set(other.shapes))
            raise InputError(
                f"the space is empty: position {_listed(values)} is not to be had at site {lacking.name} "
                f"of {self.traced.backbone.name} (it has: {', '.join(lacking.shapes)})"
            )
        return offered

    def _values_at(self, dimension: Dimension, site: Site) -> tuple[Any, ...]:
        choice = self.spec.choice(dimension)
        for place in (site.name, site.stage_name, str(site.stage)):
            if place in choice.at:
                return choice.at[place]
        return choice.choices

    def _check_places(self) -> None:
        for dimension in DIMENSIONS:
            choice = self.spec.choice(dimension)
            stages = [place for site in self.traced.sites for place in (str(site.stage), site.stage_name)]
            known = stages + [site.name for site in self.traced.sites if choice.per == "layer"]
            for place in choice.at:
                if place not in known:
                    raise unknown(f"place in space.{dimension}.at", place, dict.fromkeys(known))
            for site in self.traced.sites:
                if site.stage_name != str(site.stage) and {site.stage_name, str(site.stage)} <= set(choice.at):
                    raise InputError(
                        f"space.{dimension}.at has stage {site.stage} twice, as {site.stage} and as {site.stage_name}"
                    )

    def _check_ratios(self) -> None:
        """Each ratio has to fit some site of those that its list is for."""
        choice = self.spec.ratio
        variants = {str(name) for site in self.traced.sites for name in self._choices[self.parameter("variant", site)]}
        for values in {choice.choices, *choice.at.values()}:
            sites = [site for site in self.traced.sites if self._values_at("ratio", site) == values]
            places = [(site, [p for p in site.shapes if p in self._values_at("position", site)]) for site in sites]
            for name in variants:
                for ratio in values:
                    check_ratio(name, ratio, [(site, offered) for site, offered in places if offered])

    def _block(self, site: Site, setting: Mapping[str, Any]) -> SE:
        position = nearest_position(site, setting["position"], self.traced.sites)
        given = {key: setting[key] for key in ("ratio", "squeeze", "excitation") if key in setting}
        return block(
            setting["variant"],
            position,
            site.channels(position),
            Options(**given, bias=self.spec.bias),
            from_identity=self.spec.from_identity,
        )

    def _offers(self, site: Site, outer: Sequence[Setting]) -> Counter[int]:
        """How many of a site's blocks are offered by exactly which outer settings, those as a bit set."""
        masks: dict[Block, int] = {}
        for i, setting in enumerate(outer):
            for se in self.blocks(site, setting):
                masks[se] = masks.get(se, 0) | 1 << i
        return Counter(masks.values())

    def _range(
        self, figure: Callable[[BlockCost], int], over_sites: Callable[[Iterable[int]], int] = sum
    ) -> tuple[int, int]:
        def figures(site: Site, outer: Setting) -> Iterator[int]:
            for se in self.blocks(site, outer):
                yield 0 if se is None else figure(site_price(self.traced, site.name, se))

        def extreme(pick: Callable[[Iterable[int]], int]) -> int:
            return pick(
                over_sites(
                    pick(
                        over_sites(pick(figures(site, network | local)) for site in stage)
                        for local in self.assignments("stage", stage[0], network)
                    )
                    for stage in self.stages
                )
                for network in self.assignments("network", self.traced.sites[0], {})
            )

        return extreme(min), extreme(max)

    def _settings_of(self, architecture: Architecture) -> dict[str, Value] | None:
        """A setting of every parameter that makes an architecture, if there is one.

        Once the network-wide and the stage-wide parameters are set, each site can be looked at alone.
        """
        for network in self.assignments("network", self.traced.sites[0], {}):
            stages = [self._settings_of_stage(stage, network, architecture) for stage in self.stages]
            if None not in stages:
                return {name: value for stage in stages if stage for name, value in stage.items()}
        return None

    def _settings_of_stage(
        self, stage: Sequence[Site], network: Setting, architecture: Architecture
    ) -> dict[str, Value] | None:
        for local in self.assignments("stage", stage[0], network):
            sites = [self._settings_of_site(site, network | local, architecture) for site in stage]
            if None not in sites:
                return {name: value for site in sites if site for name, value in site.items()}
        return None

    def _settings_of_site(self, site: Site, outer: Setting, architecture: Architecture) -> dict[str, Value] | None:
        wanted = architecture.se.get(site.name)
        for inner in self.assignments("layer", site, outer):
            setting = outer | inner
            if self.block_at(site, setting) == wanted:
                return {self.parameter(dimension, site): setting[dimension] for dimension in DIMENSIONS}
        return None

    def _why_not_here(self, site: Site, se: Block) -> str | None:
        """Why a site never has a block, or never none; None if it can."""
        network = self.assignments("network", site, {})
        outer = (n | s for n in network for s in self.assignments("stage", site, n))
        offered = dict.fromkeys(candidate for setting in outer for candidate in self.blocks(site, setting))
        if se in offered:
            return None
        blocks = [candidate for candidate in offered if candidate is not None]
        if se is None:
            return f"site {site.name} has no block, and the space inserts one there"
        if not blocks:
            return f"site {site.name} has a block, and the space inserts none there"
        for what, read in _TRAITS.items():
            near = [candidate for candidate in blocks if read(candidate) == read(se)]
            if not near:
                choices = ", ".join(dict.fromkeys(map(str, map(read, blocks))))
                return f"site {site.name}: {what} {read(se)} is not offered (offered: {choices})"
            blocks = near
        return f"site {site.name}: no choice makes {se}"


_TRAITS: dict[str, Callable[[SE], Any]] = {
    "position": lambda se: se.position,
    "kind": lambda se: se.kind,
    "widths": lambda se: "-".join(map(str, se.hidden)),
    "settings": lambda se: ", ".join(f"{key}={value}" for key, value in se.settings if key != "hidden"),
    "from_identity": lambda se: se.from_identity,
}


def _matters(dimension: Dimension, setting: Mapping[str, Any]) -> bool:
    """Whether a dimension has an effect, as far as the others are known."""
    if dimension == "insertion":
        return True
    if not setting.get("insertion", True):
        return False
    if dimension in ("variant", "position") or "variant" not in setting:
        return True
    return dimension in variant(setting["variant"])[1].uses


def _is_in_scope(per: Granularity, site: Site, other: Site) -> bool:
    return {"network": True, "stage": site.stage == other.stage, "layer": site is other}[per]


def _intersect(left: Counter[int], right: Counter[int]) -> Counter[int]:
    """Counts of pairs by the settings that offer both; pairs that no setting offers are dropped."""
    both: Counter[int] = Counter()
    for a, n in left.items():
        for b, m in right.items():
            if a & b:
                both[a & b] += n * m
    return both


def _forget_inner(counts: Counter[int], outer: Sequence[int]) -> Counter[int]:
    """From pairs of outer and inner settings to the outer ones: offered there if any inner setting offers it.

    ``outer`` has the outer setting of each pair.
    """
    groups: dict[int, int] = {}
    for i, setting in enumerate(outer):
        groups[setting] = groups.get(setting, 0) | 1 << i
    forgotten: Counter[int] = Counter()
    for mask, n in counts.items():
        forgotten[sum(1 << setting for setting, group in groups.items() if mask & group)] += n
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
