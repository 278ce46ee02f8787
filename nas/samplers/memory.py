"""The study that a sampler sees: Optuna's, in memory, and apart from the study DB.

How an architecture ended is put into it in the one form that all samplers put in order in the same way, constrained
domination. Every trial that ended has every constraint, since to some samplers a missing one is an error (GP) or as
good as a satisfied one (the others).
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from math import isnan
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.samplers.architectures import Space
from nas.samplers.genetic import GeneticSampler
from search_space.architecture import Architecture
from search_space.costs import cost
from search_space.several import SeveralBackbones
from search_space.space import SearchSpace, Value

STOPPED_EARLY = "stopped_early"
"""The constraint that a trial stopped early breaks, by the share of the full budget it lacked."""

SATISFIED = -1.0
"""The value of a constraint that has nothing to be measured by.

It is not 0, because a surrogate of the constraint would give whatever is like a satisfied one an even chance to be
satisfied too.
"""

_BROKEN = 1.0
"""Added where a space's own constraint is broken, so that it counts for more than any stop, which is 1 at the most."""


@dataclass(frozen=True)
class Ending:
    """How an architecture ended: with values, the last ones reached if it was stopped early, or without.

    Attributes:
        shortfall: the share of the full budget that it lacked, in (0, 1]; 0 if it had all.
        failed: it broke, and nothing is to be learnt from it.
    """

    values: tuple[float, ...] | None = None
    shortfall: float = 0.0
    failed: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether there are values that can be put in order."""
        return self.values is not None and not any(isnan(value) for value in self.values)


class Memory:
    """Asks the sampler, and tells it in terms of architectures."""

    def __init__(self, space: Space, sampler: BaseSampler, directions: Sequence[str]) -> None:
        self._spaces = list(space.spaces.values()) if isinstance(space, SeveralBackbones) else [space]
        self._sampler = sampler
        self._study = optuna.create_study(sampler=sampler, directions=[StudyDirection[d.upper()] for d in directions])
        self._bounds = {name: SATISFIED for one in self._spaces for name in _excesses_of_any(one)}

    def ask(self, parameters: Mapping[str, Value] | None = None) -> Trial:
        """A trial of the sampler's choice, or of these parameters."""
        if parameters is not None:
            self._study.enqueue_trial(dict(parameters))
        return self._study.ask()

    def tell(self, trial: Trial, architecture: Architecture, ending: Ending) -> None:
        """Ends a trial as its architecture ended."""
        if ending.failed:
            self.forget(trial)
            return
        for name, value in self._constraints(architecture, ending.shortfall).items():
            trial.set_constraint(name, value)
        if ending.is_measured:
            self._study.tell(trial, list(ending.values or ()))
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def refuse(self, trial: Trial, architecture: Architecture) -> None:
        """Ends a trial whose architecture breaks the space's constraints, and so was never measured."""
        self.tell(trial, architecture, Ending())

    def forget(self, trial: Trial) -> None:
        """Ends a trial that nothing is to be learnt from: samplers ignore failed ones."""
        self._study.tell(trial, state=TrialState.FAIL)

    def add(
        self,
        architecture: Architecture,
        parameters: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        ending: Ending,
    ) -> None:
        """Puts in a trial that ended before this study was."""
        if ending.failed:
            return
        now = datetime.now()
        trial = _HandedOver(
            number=-1,
            trial_id=-1,
            state=TrialState.COMPLETE if ending.is_measured else TrialState.PRUNED,
            value=None,
            values=list(ending.values or ()) if ending.is_measured else None,
            datetime_start=now,
            datetime_complete=now,
            params=dict(parameters),
            distributions=dict(distributions),
            user_attrs={},
            system_attrs=self._sampler.mark() if isinstance(self._sampler, GeneticSampler) else {},
            intermediate_values={},
        )
        for name, value in self._constraints(architecture, ending.shortfall).items():
            trial.set_constraint(name, value)
        self._study.add_trial(trial)

    def _constraints(self, architecture: Architecture, shortfall: float) -> dict[str, float]:
        """All constraints, in the same order for every trial: of some samplers' models each is a column."""
        stopped = {STOPPED_EARLY: shortfall if shortfall > 0 else SATISFIED}
        if not self._bounds:
            return stopped
        space = next(one for one in self._spaces if one.traced.backbone == architecture.backbone)
        excesses = space.spec.constraints.excesses(cost(space.traced, architecture))
        broken = {name: value + _BROKEN if value > 0 else value for name, value in excesses.items()}
        return stopped | self._bounds | broken


class _HandedOver(FrozenTrial):
    """A trial that nobody else holds, so whoever wants a copy for himself, as Optuna's storage does, need not go deep.

    Of ten thousand trials, copies of every choice of every parameter take longer than all the rest.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "_HandedOver":
        return copy(self)


def _excesses_of_any(space: SearchSpace) -> list[str]:
    """The names of a space's constraints, bound by bound."""
    return list(space.spec.constraints.excesses(cost(space.traced, Architecture(space.traced.backbone))))
