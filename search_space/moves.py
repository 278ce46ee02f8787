"""Moves from architecture to architecture: what a search that walks, breeds or climbs is made of.

All work on encodings, so they ask only what matters, and come out in the space and within its constraints. Of the
encodings that make one architecture it is the space's own, the first, that is changed.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search_space.architecture import Architecture
from search_space.errors import InputError
from search_space.space import Suggester, Value

_ATTEMPTS = 100


class Space(Protocol):
    """A space of architectures, as far as moving in it goes."""

    def suggest(self, suggester: Suggester) -> Architecture:
        """The architecture that a suggester's choices make, which need not meet the constraints."""

    def encode(self, architecture: Architecture) -> dict[str, Value] | None:
        """The parameters that make an architecture, or None where none do."""

    def sample(self, rng: random.Random) -> Architecture:
        """Any architecture that meets the constraints."""

    def is_feasible(self, architecture: Architecture) -> bool:
        """Whether an architecture meets the constraints."""

    def why_not(self, architecture: Architecture) -> str | None:
        """Why the space does not hold an architecture; None if it does."""


def neighbours(space: Space, architecture: Architecture) -> Iterator[Architecture]:
    """The other architectures that come from changing one parameter that matters, in the order of the choices.

    Each comes once and meets the constraints. Parameters that begin to matter take their first choice.

    Raises:
        InputError: the space does not hold the architecture.
    """
    encoding = _encoding(space, architecture)
    seen = {architecture}
    for name, values in _alternatives(space, encoding).items():
        for value in values:
            neighbour = _with(space, encoding | {name: value}, otherwise=_first)
            if neighbour not in seen and space.is_feasible(neighbour):
                yield neighbour
            seen.add(neighbour)


def mutate(space: Space, architecture: Architecture, rng: random.Random) -> Architecture:
    """Another architecture: a parameter that matters, drawn uniformly, takes another value, drawn uniformly.

    The mutation of regularised evolution (Real et al., "Regularized Evolution for Image Classifier Architecture
    Search", arXiv 1802.01548). Parameters that begin to matter are drawn at random. A change that makes the same
    network, or one beyond the constraints, gives way to another; if all do, an architecture of the space is sampled.
    It is the given one only where sampling finds no other.

    Raises:
        InputError: the space does not hold the architecture.
    """
    encoding = _encoding(space, architecture)
    for name, values in _shuffled(_alternatives(space, encoding).items(), rng):
        for value in _shuffled(values, rng):
            mutant = _with(space, encoding | {name: value}, otherwise=rng.choice)
            if mutant != architecture and space.is_feasible(mutant):
                return mutant
    samples = (space.sample(rng) for _ in range(_ATTEMPTS))
    return next((sample for sample in samples if sample != architecture), architecture)


def crossover(space: Space, a: Architecture, b: Architecture, rng: random.Random) -> Architecture:
    """A child of two architectures by uniform crossover: each parameter is that of either, with even chance.

    Where only one of them has the parameter, it is that one's; where neither has, it is drawn at random. If no child
    is found that meets the constraints, it is a mutation of a parent.

    Raises:
        InputError: the space does not hold one of them.
    """
    parents = [_encoding(space, parent) for parent in (a, b)]

    def inherit(name: str, choices: Sequence[Value]) -> Value:
        return rng.choice([parent[name] for parent in parents if name in parent] or choices)

    for _ in range(_ATTEMPTS):
        child = space.suggest(_Rule(inherit))
        if space.is_feasible(child):
            return child
    return mutate(space, rng.choice((a, b)), rng)


def _encoding(space: Space, architecture: Architecture) -> dict[str, Value]:
    encoding = space.encode(architecture)
    if encoding is None or not space.is_feasible(architecture):
        raise InputError(f"the space does not hold {architecture.id}: {space.why_not(architecture)}")
    return encoding


def _alternatives(space: Space, encoding: Mapping[str, Value]) -> dict[str, list[Value]]:
    """The values that each parameter of an encoding could have instead."""
    alternatives = {}

    def note(name: str, choices: Sequence[Value]) -> Value:
        alternatives[name] = [value for value in choices if value != encoding[name]]
        return encoding[name]

    space.suggest(_Rule(note))
    return alternatives


def _with(space: Space, values: Mapping[str, Value], *, otherwise: Callable[[Sequence[Value]], Value]) -> Architecture:
    """The architecture of these values, as far as they go."""
    return space.suggest(_Rule(lambda name, choices: values[name] if name in values else otherwise(choices)))


def _first(choices: Sequence[Value]) -> Value:
    return choices[0]


def _shuffled(items: Any, rng: random.Random) -> list[Any]:
    items = list(items)
    return rng.sample(items, len(items))


@dataclass(frozen=True)
class _Rule:
    """Suggests what a rule says."""

    rule: Callable[[str, Sequence[Any]], Any]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.rule(name, choices)
