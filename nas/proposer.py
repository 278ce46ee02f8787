"""Which architecture to try next: an Optuna sampler that is never answered with a guess and never repeats itself.

The sampler sees a study of its own in memory, not the study DB. There a proposal that has been seen before is
answered at once with what is known of it, so that the sampler learns and moves on, while the DB keeps one trial
per architecture. When the search goes on after a stop, the memory is made again from the DB.

What a trial that was stopped early tells the sampler
    In the DB it is PRUNED and has a curve but no values, so that it cannot pass for a finished one. In the memory it
    is COMPLETE with the values that it had reached, *and* breaks the constraint ``stopped_early`` by its shortfall,
    the share in (0, 1] of the full budget that it lacked. Of trials that break a constraint and trials that do not,
    Optuna's samplers take those that do not; of two that do, the one that breaks it less; and only among those that
    break none do values count: the constrained domination of Deb et al. ("A fast and elitist multiobjective genetic
    algorithm: NSGA-II", 2002, doi 10.1109/4235.996017). So every trial of the full budget comes before every stopped
    one, however good that one looked, and of those stopped the one that got farther comes first. That is the order in
    which Optuna's TPE takes pruned trials of one objective, by their last step; of several it has none. Like BOHB
    (Falkner et al., arXiv 1807.01774) it learns from the highest budget for which there is enough, and from the lower
    ones until then.

    - TPE parts trials that break something from the rest before it looks at values, and takes the best of them, by
      the sum of what they break, only where there are fewer others than it wants good ones. All the rest of them are
      examples of what is bad. (Optuna cites "Optuna Constrained Tree-Structured Parzen Estimator Is a Joint Density
      Generalization of c-TPE", arXiv 2606.09889; c-TPE itself is Watanabe and Hutter's, arXiv 2211.14411.)
    - NSGA-II and NSGA-III rank them behind, each shortfall a front of its own, and parents meet by the same rule.
      Evolution too lets them win only against each other.
    - GP puts nothing in order. Its model of the objectives is fitted to all values alike, those of stopped trials
      included, which are as a rule worse than what training to the end would have come to; so what is like a stopped
      trial is underestimated. Improvement is reckoned over trials of the full budget only, and weighed with the
      chance that a proposal is not stopped, by a second model, fitted to the constraint.
    - Random and exhaustive search learn nothing.

What a proposal that breaks the space's constraints tells the sampler
    It is never trained, so there is no value, and none is invented. Its trial in the memory ends as PRUNED and breaks
    each of those constraints by one and the excess over the bound, relative to it, so it comes behind all that were
    stopped. TPE learns from it; those that look at COMPLETE trials only do not. The bounds on what was trained tell
    the GP's models of the constraints how near they were. NSGA-II, NSGA-III and evolution never propose such a one.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isnan
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.samplers import ExhaustiveSampler, Space
from nas.samplers.memory import Ending, Memory
from search_space.architecture import Architecture
from search_space.enumeration import enumerate_architectures

_DRAWS = 100
"""Draws at random before the space is gone through in order."""

_PATIENCE = 10
"""Fruitless proposals in a row before an unseen architecture is drawn at random instead."""


@dataclass(frozen=True)
class Proposal:
    """An architecture that was never proposed before, and the parameters that make it."""

    architecture: Architecture
    parameters: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]


class Proposes:
    """Says what is tried next, and is told what became of it; this one has nothing to propose and nothing to learn."""

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing more to propose."""
        return True

    def remember(
        self,
        architecture: Architecture,
        trial: FrozenTrial,
        *,
        proposed: bool = True,
        shortfall: float = 1.0,
        reached: Sequence[float] | None = None,
    ) -> None:
        """Takes in a trial of the study DB."""

    def propose(self) -> Proposal | None:
        """What to try next."""
        return None

    def start(self, architecture: Architecture) -> Proposal:
        """A given architecture as a proposal."""
        return Proposal(architecture, {}, {})

    def complete(self, architecture: Architecture, values: Sequence[float]) -> None:
        """An architecture was trained for the full budget."""

    def stop(self, architecture: Architecture, reached: Sequence[float], shortfall: float) -> None:
        """An architecture was stopped early."""

    def fail(self, architecture: Architecture) -> None:
        """An architecture's training broke."""


@dataclass
class _Known:
    """What is known of an architecture: its trial in the memory while that is open, and its end, if it has come."""

    trial: Trial | None = None
    ending: Ending | None = None


class Proposer(Proposes):
    """Asks a sampler for architectures of a space and tells it what became of them.

    Args:
        directions: ``maximize`` or ``minimize``, of each objective.
        seed: of the draws made where the sampler only repeats itself.
    """

    def __init__(self, space: Space, sampler: BaseSampler, *, directions: Sequence[str], seed: int) -> None:
        self._space = space
        self._memory = Memory(space, sampler, directions)
        self._known: dict[str, _Known] = {}
        self._known_inside = 0
        self._nothing_left = False
        self._rng = random.Random(seed)
        # These learn nothing, so they begin as they began before, and first go through what is remembered.
        self._begins_anew = isinstance(sampler, RandomSampler | ExhaustiveSampler)
        self._to_replay: set[str] = set()

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space is known, as far as it meets the constraints."""
        return self._nothing_left or self._known_inside >= self._space.size

    def remember(
        self,
        architecture: Architecture,
        trial: FrozenTrial,
        *,
        proposed: bool = True,
        shortfall: float = 1.0,
        reached: Sequence[float] | None = None,
    ) -> None:
        """Takes in a trial of the study DB, as when a search goes on.

        Args:
            proposed: whether the sampler proposed it; baselines are given to it.
            shortfall: of a PRUNED trial, the share of the full budget that it lacked, in (0, 1].
            reached: the values of a PRUNED trial where it stopped, if it got so far as to have any.

        Raises:
            ValueError: the shortfall is not in (0, 1].
        """
        known = self._known[architecture.id] = _Known(ending=_ending(trial, shortfall, reached))
        if self._begins_anew and proposed:
            self._to_replay.add(architecture.id)
        if not trial.params and self._space.encode(architecture) is None:
            return
        self._known_inside += 1
        if known.ending is None:
            known.trial = self._memory.ask(trial.params)
            self._space.suggest(known.trial)
        else:
            self._memory.add(architecture, trial.params, trial.distributions, known.ending)

    def propose(self) -> Proposal | None:
        """An architecture never proposed before that meets the constraints, or None if the space holds no more."""
        while not self.exhausted:
            trial, architecture = self._ask_for_unseen()
            if architecture is None:
                architecture = self._draw_unseen()
            if architecture is None:
                self._nothing_left = True
            elif architecture.id in self._to_replay:
                self._to_replay.remove(architecture.id)
                if trial is not None:
                    self._memory.forget(trial)
            else:
                return self.start(architecture) if trial is None else self._begin(architecture, trial)
        return None

    def start(self, architecture: Architecture) -> Proposal:
        """A given architecture as a proposal, with parameters if the space contains it."""
        parameters = self._space.encode(architecture)
        if parameters is None:
            self._known[architecture.id] = _Known()
            return Proposal(architecture, {}, {})
        trial = self._memory.ask(parameters)
        self._space.suggest(trial)
        return self._begin(architecture, trial)

    def complete(self, architecture: Architecture, values: Sequence[float]) -> None:
        """An architecture was trained for the full budget, and these are its objectives."""
        self._end(architecture, _complete(values))

    def stop(self, architecture: Architecture, reached: Sequence[float], shortfall: float) -> None:
        """An architecture was stopped early.

        Args:
            reached: its objectives where it stopped.
            shortfall: the share of the full budget that it lacked, in (0, 1].

        Raises:
            ValueError: the shortfall is not in (0, 1].
        """
        self._end(architecture, _stopped(reached, shortfall))

    def fail(self, architecture: Architecture) -> None:
        """An architecture's training broke."""
        self._end(architecture, Ending(failed=True))

    def _begin(self, architecture: Architecture, trial: Trial) -> Proposal:
        self._known[architecture.id] = _Known(trial)
        self._known_inside += 1
        return Proposal(architecture, trial.params, trial.distributions)

    def _end(self, architecture: Architecture, ending: Ending) -> None:
        known = self._known[architecture.id]
        known.ending = ending
        if known.trial is not None:
            self._memory.tell(known.trial, architecture, ending)
            known.trial = None

    def _ask_for_unseen(self) -> tuple[Trial, Architecture] | tuple[None, None]:
        """What the sampler proposes, once it is new and meets the constraints; None if it keeps being neither."""
        for _ in range(_PATIENCE):
            trial = self._memory.ask()
            architecture = self._space.suggest(trial)
            if not self._space.is_feasible(architecture):
                self._memory.refuse(trial, architecture)
            elif self._is_new(architecture):
                return trial, architecture
            else:
                self._answer(trial, architecture)
        return None, None

    def _answer(self, trial: Trial, architecture: Architecture) -> None:
        """Ends the trial of a repeated proposal; of one that is still being trained there is nothing to say."""
        ending = self._known[architecture.id].ending
        if ending is None:
            self._memory.forget(trial)
        else:
            self._memory.tell(trial, architecture, ending)

    def _draw_unseen(self) -> Architecture | None:
        """An unseen architecture drawn at random or, where draws only give what was seen, the first in order."""
        drawn = (self._space.sample(self._rng) for _ in range(_DRAWS))
        return next(filter(self._is_new, chain(drawn, enumerate_architectures(self._space))), None)

    def _is_new(self, architecture: Architecture) -> bool:
        """Whether an architecture is not known, or was not when the search had come so far before it was stopped."""
        return architecture.id not in self._known or architecture.id in self._to_replay


def _ending(trial: FrozenTrial, shortfall: float, reached: Sequence[float] | None) -> Ending | None:
    """How a trial of the study DB ended, or None if it has not."""
    if trial.state == TrialState.COMPLETE:
        return _complete(trial.values)
    if trial.state == TrialState.PRUNED:
        return _stopped(reached, shortfall)
    return Ending(failed=True) if trial.state == TrialState.FAIL else None


def _complete(values: Sequence[float]) -> Ending:
    """Of one that diverged there is nothing that a sampler could put in order."""
    return Ending(tuple(values), failed=any(isnan(value) for value in values))


def _stopped(reached: Sequence[float] | None, shortfall: float) -> Ending:
    if not 0 < shortfall <= 1:
        raise ValueError(f"a stopped trial lacked a share of its budget in (0, 1], not {shortfall}")
    return Ending(None if reached is None else tuple(reached), shortfall)
