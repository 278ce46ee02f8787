"""A configuration made concrete: its backbones traced for its data, and the space on them. Reads no images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from nas.config import Config
from nas.objectives import Objective
from search_space.architecture import Architecture, Backbone
from search_space.backbones import resolve
from search_space.costs import Cost, cost
from search_space.errors import InputError
from search_space.import_paths import import_object
from search_space.several import SeveralBackbones, label
from search_space.site import Site, Sites
from search_space.space import SearchSpace
from search_space.spec import DIMENSIONS, SpaceSpec
from search_space.tracing import matching_sites, trace
from search_space.uniform_architectures import baselines
from search_space.weights import Weights
from trainers.data.config import describe

_NO_TOP5 = 5
"""Classes up to which the five first guesses are all there are."""


@dataclass(frozen=True)
class Plan:
    """What a search is about to explore.

    Attributes:
        space: all of it.
        spaces: the space of each backbone by the backbone's label; ``space`` itself where there is but one.
        weights: what to load into a backbone before training, for those that have something.
        objectives: what is optimised, in the study's order.
        functions: the user's own functions that price an architecture, by objective.
    """

    config: Config
    space: SearchSpace | SeveralBackbones
    spaces: Mapping[str, SearchSpace]
    weights: Mapping[Backbone, Weights]
    objectives: tuple[Objective, ...]
    functions: Mapping[str, Callable[[Architecture], float]]

    def price(self, architecture: Architecture) -> Cost:
        """The cost of an architecture of one of the backbones."""
        return next(
            cost(space.traced, architecture)
            for space in self.spaces.values()
            if space.traced.backbone == architecture.backbone
        )

    def price_objectives(self, architecture: Architecture) -> dict[str, float]:
        """The values of the objectives that are known before training.

        Raises:
            ValueError: a function of the user's gives no finite number; what it raises itself is let through.
        """
        priced = self.price(architecture)
        values = {}
        for objective in self.objectives:
            if objective.source == "priced":
                own = self.functions.get(objective.name)
                value = float(own(architecture) if own else getattr(priced, objective.name))
                if not isfinite(value):
                    raise ValueError(f"objective {objective.name} is {value}")
                values[objective.name] = value
        return values

    def ranges(self) -> list[tuple[float, float] | None]:
        """For each objective its range over the space, where that is known; distances are scaled by it."""
        costs = asdict(self.space.cost_range)
        return [costs.get(objective.name) for objective in self.objectives]

    def baselines(self) -> dict[str, Architecture]:
        """The baselines of every backbone, by name."""
        spec = self.config.space
        return {
            name if len(self.spaces) == 1 else f"{backbone}: {name}": architecture
            for backbone, space in self.spaces.items()
            for name, architecture in baselines(space.traced, bias=spec.bias, from_identity=spec.from_identity).items()
        }


def plan(config: Config) -> Plan:
    """Traces the backbones for the data's classes and image size and makes the space on them.

    Raises:
        InputError: the data set is missing, a backbone is unknown or does not fit it, or the space is empty.
    """
    num_classes, input_size = describe(config.data)
    chosen = {
        resolve(entry.name, num_classes=num_classes, input_size=input_size, options=entry.options): entry
        for entry in config.all_backbones
    }
    if len(chosen) < len(config.all_backbones):
        raise InputError("two of the backbones are the same, options included: leave one out")
    if num_classes <= _NO_TOP5 and any(entry.name == "top5" for entry in config.search.objectives):
        raise InputError(f"objective top5: of {num_classes} classes every network has all among its first five guesses")
    traced = {backbone: trace(backbone, sites) for backbone, sites in _sites(config.space.sites, list(chosen)).items()}
    spaces = {}
    for backbone in chosen:
        others = [site for other, found in traced.items() if other != backbone for site in found.sites]
        spec = _without_places_of_others(config.space, traced[backbone].sites, others)
        spaces[label(backbone, chosen)] = SearchSpace(traced[backbone], spec)
    return Plan(
        config,
        next(iter(spaces.values())) if len(spaces) == 1 else SeveralBackbones(spaces),
        spaces,
        {backbone: found for backbone, entry in chosen.items() if (found := entry.to_load) is not None},
        tuple(entry.objective for entry in config.search.objectives),
        _own_prices(config),
    )


def _sites(sites: Sites, backbones: Sequence[Backbone]) -> dict[Backbone, Sites]:
    """Return the sites of each backbone: of names and patterns, those that match some of its sites.

    Raises:
        InputError: a pattern matches no site of any backbone, or a backbone has no site that one matches.
    """
    if isinstance(sites, str):
        return dict.fromkeys(backbones, sites)
    own = {b: tuple(pattern for pattern in sites if matching_sites(b, pattern)) for b in backbones}
    for pattern in sites:
        if not any(pattern in patterns for patterns in own.values()):
            trace(backbones[0], (pattern,))  # raises, with the nearest names
    for backbone, patterns in own.items():
        if not patterns:
            raise InputError(f"space.sites: none of {', '.join(sites)} matches a site of backbone {backbone.name}")
    return dict(own)


def _own_prices(config: Config) -> dict[str, Callable[[Architecture], float]]:
    """The user's functions that price; those that measure are only looked for, so that a mistake is told at once."""
    functions = {}
    for entry in config.search.objectives:
        path = entry.price or entry.measure
        if path is not None:
            function = import_object(f"objective {entry.name}", path)
            if not callable(function):
                raise InputError(f"objective {entry.name}: {path} is no function")
            if entry.price is not None:
                functions[entry.name] = function
    return functions


def _without_places_of_others(spec: SpaceSpec, own: Sequence[Site], others: Sequence[Site]) -> SpaceSpec:
    """A specification without the places that only other backbones have."""
    foreign = _places(others) - _places(own)
    choices = {dimension: spec.choice(dimension) for dimension in DIMENSIONS}
    kept: dict[str, Any] = {
        dimension: choice.model_copy(update={"at": {p: v for p, v in choice.at.items() if p not in foreign}})
        for dimension, choice in choices.items()
    }
    return spec.model_copy(update=kept)


def _places(sites: Sequence[Site]) -> set[str]:
    return {place for site in sites for place in (site.name, site.stage_name, str(site.stage))}
