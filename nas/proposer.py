"""Which architecture to try next: an Optuna sampler that is never answered with a guess and never repeats itself.

The sampler sees a study of its own in memory, not the study DB. There a proposal that has been seen before is
answered at once with what is known of it, so that the sampler learns and moves on, while the DB keeps one trial
per architecture. When the search goes on after a stop, the memory is made again from the DB.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.config import SamplerName
from nas.record import DIRECTIONS
from search_space.architecture import Architecture
from search_space.enumeration import enumerate_architectures
from search_space.several import SeveralBackbones
from search_space.space import SearchSpace

SAMPLERS: dict[SamplerName, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}

Values = tuple[float, ...]

_DRAWS = 100
"""Draws at random before the space is gone through in order."""

_PATIENCE = 10
"""Repeated proposals in a row before an unseen architecture is drawn at random instead."""


@dataclass(frozen=True)
class Proposal:
    """An architecture that was never proposed before, and the parameters that make it."""

    architecture: Architecture
    parameters: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]


@dataclass
class _Known:
    """What is known of an architecture: its number in the sampler's study, and its end, if it has come."""

    number: int | None
    state: TrialState = TrialState.RUNNING
    values: Values | None = None


class Proposer:
    """Asks a sampler for architectures of a space and tells it what became of them.

    Args:
        seed: of the draws made where the sampler only repeats itself.
    """

    def __init__(self, space: SearchSpace | SeveralBackbones, sampler: BaseSampler, *, seed: int) -> None:
        self._space = space
        self._memory = optuna.create_study(sampler=sampler, directions=list(DIRECTIONS))
        self._known: dict[str, _Known] = {}
        self._known_inside = 0
        self._nothing_left = False
        self._rng = random.Random(seed)
        # A sampler that is seeded again begins as it began before, so it first repeats what is remembered.
        self._to_replay = 0

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space is known, as far as it meets the constraints."""
        return self._nothing_left or self._known_inside >= self._space.size

    def remember(self, architecture: Architecture, trial: FrozenTrial) -> None:
        """Takes in a trial of the study DB, as when a search goes on."""
        self._to_replay += 1
        self._known_inside += architecture in self._space
        self._known[architecture.id] = _Known(
            self._add(trial.params, trial.distributions, trial.state, trial.values),
            trial.state,
            tuple(trial.values) if trial.values else None,
        )

    def propose(self) -> Proposal | None:
        """An architecture never proposed before that meets the constraints, or None if the space holds no more.

        One that does not meet them is told as failed, which samplers ignore; what is drawn in its place after a few
        of them does.
        """
        if self.exhausted:
            return None
        repeated = 0
        while repeated < _PATIENCE:
            trial = self._memory.ask()
            architecture = self._space.suggest(trial)
            if not self._space.is_feasible(architecture):
                self._memory.tell(trial.number, state=TrialState.FAIL)
                repeated += 1
                continue
            if architecture.id not in self._known:
                self._known[architecture.id] = _Known(trial.number)
                self._known_inside += 1
                return Proposal(architecture, trial.params, trial.distributions)
            self._answer(trial.number, self._known[architecture.id])
            if self._to_replay > 0:
                self._to_replay -= 1
            else:
                repeated += 1
        return self._draw_unseen()

    def start(self, architecture: Architecture) -> Proposal:
        """A given architecture as a proposal, with parameters if the space contains it."""
        parameters = self._space.encode(architecture)
        if parameters is None:
            self._known[architecture.id] = _Known(None)
            return Proposal(architecture, {}, {})
        self._memory.enqueue_trial(parameters)
        trial = self._memory.ask()
        self._space.suggest(trial)
        self._known[architecture.id] = _Known(trial.number)
        self._known_inside += 1
        return Proposal(architecture, trial.params, trial.distributions)

    def tell(self, architecture: Architecture, state: TrialState, values: Values | None = None) -> None:
        """What became of an architecture; ``values`` only if it is COMPLETE."""
        known = self._known[architecture.id]
        known.state, known.values = state, values
        if known.number is not None:
            self._answer(known.number, known)

    def _answer(self, number: int, known: _Known) -> None:
        """Ends a trial of the sampler's study the way the architecture ended.

        A stopped trial is told without its curve: Optuna's samplers rank stopped trials by one objective only,
        and without a curve they take it for what it is here, one of the worse. An architecture that is still
        being trained has no answer yet; its repetition is told as failed, which samplers ignore.
        """
        if known.state == TrialState.COMPLETE:
            self._memory.tell(number, list(known.values or ()))
        else:
            stopped = known.state == TrialState.PRUNED
            self._memory.tell(number, state=TrialState.PRUNED if stopped else TrialState.FAIL)

    def _add(
        self,
        parameters: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        state: TrialState,
        values: list[float] | None,
    ) -> int | None:
        if not parameters and self._space.parameters:
            return None
        trial = create_trial(state=state, params=dict(parameters), distributions=dict(distributions), values=values)
        self._memory.add_trial(trial)
        return len(self._memory.get_trials(deepcopy=False)) - 1

    def _draw_unseen(self) -> Proposal | None:
        """An unseen architecture drawn at random or, where draws only give what was seen, the first in order."""
        drawn = (self._space.sample(self._rng) for _ in range(_DRAWS))
        for architecture in chain(drawn, enumerate_architectures(self._space)):
            if architecture.id not in self._known:
                return self.start(architecture)
        self._nothing_left = True
        return None
