"""A space over several backbones: which backbone, and then what its own space asks."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from search_space.architecture import Architecture, Backbone
from search_space.errors import InputError, unknown
from search_space.space import CostRange, SearchSpace, Suggester, Value

BACKBONE = "backbone"
"""The parameter that decides the backbone."""


class SeveralBackbones:
    """The architectures of several backbones, each with a space of its own, by label.

    The parameter ``backbone`` is asked first, unless there is but one, and then those of that backbone, prefixed
    with its label: ``resnet20/layer1.position``, since one name may have other choices there.

    Raises:
        InputError: there is no backbone, or two labels have the same.
    """

    def __init__(self, spaces: Mapping[str, SearchSpace]) -> None:
        if not spaces:
            raise InputError("a space over several backbones needs at least one")
        self._spaces = dict(spaces)
        self._labels: dict[Backbone, str] = {}
        for name, space in self._spaces.items():
            first = self._labels.setdefault(space.traced.backbone, name)
            if first != name:
                raise InputError(f"{first} and {name} are the same backbone: {space.traced.backbone}")

    @property
    def spaces(self) -> Mapping[str, SearchSpace]:
        """The space of each backbone, by label."""
        return MappingProxyType(self._spaces)

    @property
    def parameters(self) -> dict[str, tuple[Value, ...]]:
        """The choices of every parameter that has more than one, by name, backbone after backbone."""
        parameters: dict[str, tuple[Value, ...]] = {BACKBONE: tuple(self._spaces)} if len(self._spaces) > 1 else {}
        for name, space in self._spaces.items():
            parameters |= _prefixed(name, space.parameters)
        return parameters

    def suggest(self, suggester: Suggester) -> Architecture:
        """The architecture that a suggester's choices make; only the parameters that matter are asked.

        It need not meet the constraints.
        """
        labels = list(self._spaces)
        chosen = suggester.suggest_categorical(BACKBONE, labels) if len(labels) > 1 else labels[0]
        return self._spaces[chosen].suggest(_Prefixing(suggester, chosen))

    def sample(self, rng: random.Random) -> Architecture:
        """An architecture that meets the constraints: of a backbone drawn uniformly, a sample of its space."""
        return self._spaces[rng.choice(list(self._spaces))].sample(rng)

    def decode(self, parameters: Mapping[str, Value]) -> Architecture:
        """The architecture of a complete set of parameters.

        Raises:
            InputError: a parameter is unknown, one that matters is missing, or has a value that is not offered.
        """
        chosen = self._label_in(parameters)
        own: dict[str, Value] = {}
        for name, value in parameters.items():
            of, _, rest = name.rpartition("/")
            if of == chosen:
                own[rest] = value
            elif name != BACKBONE and name not in self.parameters:
                raise unknown("parameter", name, self.parameters)
        try:
            return self._spaces[chosen].decode(own)
        except InputError as error:
            raise InputError(f"backbone {chosen}: {error}") from error

    def encode(self, architecture: Architecture) -> dict[str, Value] | None:
        """Parameters that make an architecture, or None where none do; constraints apart.

        Several encodings can make one network; this is the first in the order of the choices.
        """
        name = self._labels.get(architecture.backbone)
        encoding = None if name is None else self._spaces[name].encode(architecture)
        if name is None or encoding is None:
            return None
        return ({BACKBONE: name} if len(self._spaces) > 1 else {}) | _prefixed(name, encoding)

    def __contains__(self, architecture: Architecture) -> bool:
        return self.why_not(architecture) is None

    def is_feasible(self, architecture: Architecture) -> bool:
        """Whether an architecture of one of the backbones meets the constraints on it.

        Raises:
            InputError: it is of another backbone.
        """
        name = self._labels.get(architecture.backbone)
        if name is None:
            raise InputError(self._why_not_backbone(architecture.backbone))
        return self._spaces[name].is_feasible(architecture)

    def why_not(self, architecture: Architecture) -> str | None:
        """Why the space does not hold an architecture; None if it does."""
        name = self._labels.get(architecture.backbone)
        if name is None:
            return self._why_not_backbone(architecture.backbone)
        return self._spaces[name].why_not(architecture)

    @cached_property
    def size(self) -> int:
        """The number of distinct architectures, constraints apart; those of two backbones are never the same."""
        return sum(space.size for space in self._spaces.values())

    @cached_property
    def cost_range(self) -> CostRange:
        """The exact range of FLOPs, parameters and memory over the space, constraints apart."""
        ranges = [space.cost_range for space in self._spaces.values()]
        return CostRange(
            flops=_union([one.flops for one in ranges]),
            params=_union([one.params for one in ranges]),
            memory=_union([one.memory for one in ranges]),
        )

    def _label_in(self, parameters: Mapping[str, Value]) -> str:
        if BACKBONE not in parameters and len(self._spaces) == 1:
            return next(iter(self._spaces))
        if BACKBONE not in parameters:
            raise InputError(f"parameter {BACKBONE} is missing (choices: {', '.join(self._spaces)})")
        chosen = parameters[BACKBONE]
        if chosen not in self._spaces:
            raise unknown(BACKBONE, chosen, self._spaces)
        return str(chosen)

    def _why_not_backbone(self, backbone: Backbone) -> str:
        return f"it is of the backbone {backbone}, the space of {' or '.join(map(str, self._labels))}"


def label(backbone: Backbone, others: Collection[Backbone]) -> str:
    """The name of a backbone and what sets it apart from others of that name: ``resnet20(width=32)``."""
    namesakes = [_traits(other) for other in others if other.name == backbone.name]
    apart = {
        trait: value
        for trait, value in _traits(backbone).items()
        if any(namesake.get(trait) != value for namesake in namesakes)
    }
    listed = ", ".join(f"{trait}={value}" for trait, value in apart.items())
    return f"{backbone.name}({listed})" if listed else backbone.name


def _traits(backbone: Backbone) -> dict[str, Any]:
    size = "x".join(map(str, backbone.input_size))
    return dict(backbone.options) | {"input_size": size, "num_classes": backbone.num_classes}


def _prefixed(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}/{parameter}": value for parameter, value in parameters.items()}


def _union(ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


@dataclass(frozen=True)
class _Prefixing:
    """Asks another suggester under names prefixed with a label."""

    suggester: Suggester
    prefix: str

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.suggester.suggest_categorical(f"{self.prefix}/{name}", choices)
