"""The trials of a study as they are in its DB, read when they are asked for."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from results import tables
from results.best import best_of
from results.database import reading
from results.front import front
from results.query import select_trials
from results.records import TrialRecord, checkpoint_folder
from results.tables import Chosen, Objective, TrialRow

_T = TypeVar("_T")

_ATTRIBUTES = (
    "architecture",
    "architecture_id",
    "flops",
    "params",
    "baseline",
    "fail_reason",
    "ending",
)


@dataclass(frozen=True)
class StoredTrials:
    """The trials of one study; each question is answered as of one moment.

    Attributes:
        study: its id in the DB.
        checkpoints: the folder, or the URL, of the study's checkpoints; None if senas did not make it.
    """

    url: str
    study: int
    objectives: tuple[Objective, ...]
    checkpoints: str | None

    def read(
        self,
        where: str | None = None,
        *,
        sort: str | None = None,
        limit: int | None = None,
    ) -> list[TrialRecord]:
        """The trials for which an expression holds, in order; all by number, if nothing is asked for.

        Raises:
            InputError: the expression or the name to sort by is wrong.
        """
        with reading(self.url) as connection:
            finals = tables.final_values(connection, Chosen(self.study), self.objectives)
            on_front = self._front(finals)
            everything = where is None and sort is None and limit is None
            ids = None if everything else self._select(connection, on_front, where, sort, limit)
            records = self._records(connection, ids, finals, on_front)
        return list(records.values()) if ids is None else [records[trial] for trial in ids]

    def best(self, connection: Connection) -> TrialRecord | None:
        """Return the best trial, by :mod:`results.best`, without reading the others."""
        first, finals = self.objectives[0], tables.final_values(connection, Chosen(self.study), self.objectives)
        losses = {trial: first.loss(final[first.name]) for trial, final in finals.items()}
        least = min(filter(isfinite, losses.values()), default=None)
        equal = [trial for trial, loss in losses.items() if loss == least]
        return best_of(self._records(connection, equal, finals, ()).values(), self.objectives) if equal else None

    def count(self, where: str | None = None) -> int:
        """How many trials an expression holds for.

        Raises:
            InputError: the expression is wrong.
        """
        with reading(self.url) as connection:
            on_front = self._front(tables.final_values(connection, Chosen(self.study), self.objectives))
            return len(self._select(connection, on_front, where))

    def distributions(self) -> dict[str, list[str]]:
        """What each parameter was drawn from, by its name, as Optuna's JSON; several where its range was changed."""
        with reading(self.url) as connection:
            return tables.distributions(connection, self.study)

    def _records(
        self,
        connection: Connection,
        ids: Sequence[int] | None,
        finals: Mapping[int, Mapping[str, float]],
        on_front: Collection[int],
    ) -> dict[int, TrialRecord]:
        """The trials of some ids, or all by number, by their ids."""
        chosen = Chosen(self.study, ids)
        attributes = tables.trial_attributes(connection, chosen, _ATTRIBUTES)
        curves = tables.curves(connection, chosen)
        parameters = tables.parameters(connection, chosen)
        return {
            trial.id: _record(
                trial,
                said=attributes.get(trial.id, {}),
                final=finals.get(trial.id, {}),
                curve=curves.get(trial.id, {}),
                parameters=parameters.get(trial.id, {}),
                is_pareto=trial.id in on_front,
                checkpoint=checkpoint_folder(self.checkpoints, trial.number) if self.checkpoints else None,
            )
            for trial in tables.trial_rows(connection, chosen)
        }

    def _front(self, finals: Mapping[int, Mapping[str, float]]) -> set[int]:
        """The ids of the trials on the front."""
        trials = list(finals)
        return {trials[index] for index in front(tables.losses(self.objectives, finals.values()))}

    def _select(
        self,
        connection: Connection,
        on_front: Collection[int],
        where: str | None = None,
        sort: str | None = None,
        limit: int | None = None,
    ) -> list[int]:
        return select_trials(connection, self.study, self.objectives, on_front, where=where, sort=sort, limit=limit)


def _record(
    trial: TrialRow,
    *,
    said: Mapping[str, str],
    final: Mapping[str, float],
    curve: dict[int, float],
    parameters: Mapping[str, Any],
    is_pareto: bool,
    checkpoint: str | None,
) -> TrialRecord:
    complete = trial.state == "COMPLETE"
    last = next(reversed(curve.values()), None) if complete else None
    flops, params = _decoded(said, "flops", int), _decoded(said, "params", int)
    ending = _decoded(said, "ending", dict) or {}
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        architecture_json=said.get("architecture"),
        architecture_id=_decoded(said, "architecture_id", str),
        accuracy=final.get("accuracy", last),
        flops=_cost(final.get("flops")) if flops is None else flops,
        params=_cost(final.get("params")) if params is None else params,
        epochs=max(curve, default=None if complete else 0),
        duration_s=(trial.ended - trial.started).total_seconds() if trial.ended and trial.started else None,
        started=trial.started,
        ended=trial.ended,
        is_pareto=is_pareto,
        curve=tuple(curve.values()),
        steps=tuple(curve),
        fail_reason=_decoded(said, "fail_reason", str),
        baseline=_decoded(said, "baseline", str),
        checkpoint=checkpoint,
        parameters=parameters,
        metrics=_metrics(ending),
        objectives=final,
        class_accuracies=_class_accuracies(ending) if complete else (),
    )


def _metrics(ending: Mapping[str, Any]) -> Mapping[str, Any]:
    found = ending.get("metrics")
    return found if isinstance(found, dict) else {}


def _class_accuracies(ending: Mapping[str, Any]) -> tuple[float | None, ...]:
    found = ending.get("class_accuracies")
    if not isinstance(found, list) or not all(value is None or isinstance(value, float) for value in found):
        return ()
    return tuple(found)


def _decoded(said: Mapping[str, str], key: str, kind: type[_T]) -> _T | None:
    """An attribute if the trial has it and it is what senas would have written."""
    value = json.loads(said[key]) if key in said else None
    return value if type(value) is kind else None


def _cost(value: float | None) -> float | None:
    """A count that was an objective, which Optuna keeps as a float; others than senas may count in millions."""
    if value is None or not isfinite(value):
        return None
    return int(value) if value % 1 == 0 else value
