"""The studies of a study DB, and what a study says of its trials."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from math import inf
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from results import tables
from results.database import reading
from results.front import front
from results.records import STATES, State, TrialRecord, checkpoint_folder
from results.tables import Objective
from search_space.errors import InputError, unknown

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
class StudySummary:
    """What a study comes to.

    Attributes:
        trials: number of trials by state, every state listed.
        best_accuracy: highest validation accuracy of a COMPLETE trial, 0 to 1; None without one.
        front_size: number of COMPLETE trials on the front.
        started: when the first trial started, in UTC.
        last_change: when a trial last started or ended, in UTC.
    """

    name: str
    trials: Mapping[State, int] = field(hash=False)
    best_accuracy: float | None
    front_size: int
    started: datetime | None
    last_change: datetime | None

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON, times as ISO 8601."""
        return {
            "name": self.name,
            "trials": dict(self.trials),
            "best_accuracy": self.best_accuracy,
            "front_size": self.front_size,
            "started": self.started.isoformat() if self.started else None,
            "last_change": self.last_change.isoformat() if self.last_change else None,
        }


@dataclass(frozen=True)
class Study:
    """A study as it was when it was opened; open it again to see what has happened since.

    Attributes:
        user_attrs: all that the search recorded of itself.
        objectives: in the study's own order.
        records: the trials by number.
    """

    name: str
    user_attrs: Mapping[str, Any] = field(repr=False, hash=False)
    objectives: tuple[Objective, ...]
    records: tuple[TrialRecord, ...] = field(repr=False)

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The configuration of the search as plain data; None if senas did not make the study."""
        return self.user_attrs.get("config")

    @property
    def epochs(self) -> int | None:
        """The full budget of a trial, in epochs; None if senas did not make the study."""
        return self.user_attrs.get("epochs")

    @property
    def scored_by(self) -> str:
        """Which images gave the accuracies: "validation", or "test" in a final evaluation."""
        return "test" if "test" in self.user_attrs.get("fingerprints", {}) else "validation"

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of all parameters that a trial of the study has, sorted."""
        return tuple(sorted({name for record in self.records for name in record.parameters}))

    def trials(self) -> list[TrialRecord]:
        """All trials by number, whatever their state."""
        return list(self.records)

    def trial(self, number: int) -> TrialRecord:
        """The trial of that number.

        Raises:
            InputError: there is none.
        """
        for record in self.records:
            if record.number == number:
                return record
        known = f"its trials are 0 to {self.records[-1].number}" if self.records else "it has no trials yet"
        raise InputError(f"study '{self.name}' has no trial {number}: {known}")

    def front(self, max_flops: float | None = None, max_params: float | None = None) -> list[TrialRecord]:
        """The COMPLETE trials within the limits that no other within them dominates, cheapest first.

        Args:
            max_flops: most multiply-adds of one forward pass.
            max_params: most parameters.
        """
        records = self._complete(max_flops, max_params)
        on_front = front(_losses(self.objectives, [record.objectives for record in records]))
        return sorted((records[index] for index in on_front), key=_by_cost)

    def best(self, max_flops: float | None = None, max_params: float | None = None) -> TrialRecord | None:
        """The COMPLETE trial of highest accuracy within the limits; of equal ones the one of fewest FLOPs.

        Args:
            max_flops: most multiply-adds of one forward pass.
            max_params: most parameters.

        Returns:
            None if no COMPLETE trial is within the limits.
        """
        return min(self._complete(max_flops, max_params), key=_by_accuracy, default=None)

    def baselines(self) -> list[TrialRecord]:
        """The baselines by number, whatever their state."""
        return [record for record in self.records if record.is_baseline]

    def _complete(self, max_flops: float | None, max_params: float | None) -> list[TrialRecord]:
        return [
            record
            for record in self.records
            if record.accuracy is not None and _within(record.flops, max_flops) and _within(record.params, max_params)
        ]


def studies(url: str) -> list[StudySummary]:
    """The studies of a DB, in the order of their making, those of other Optuna programs included.

    Args:
        url: an SQLAlchemy URL such as ``sqlite:///senas.db``.

    Raises:
        InputError: there is no Optuna study DB at the URL.
    """
    with reading(url) as connection:
        tables.check_tables(connection)
        return [_summarise(connection, study_id, name) for name, study_id in tables.study_ids(connection).items()]


def open_study(url: str, name: str) -> Study:
    """A study with all of its trials, read at one moment in a few queries.

    Any Optuna study with an objective named "accuracy" will do; what senas would have recorded is None.

    Args:
        url: an SQLAlchemy URL such as ``sqlite:///senas.db``.
        name: the study's name.

    Raises:
        InputError: there is no Optuna study DB at the URL, no such study in it, or it has no accuracy.
    """
    with reading(url) as connection:
        tables.check_tables(connection)
        study_id = _find(name, tables.study_ids(connection))
        objectives = tables.objectives(connection, study_id)
        attributes = tables.study_attributes(connection, study_id)
        if "config" not in attributes:  # the intermediate values of our own are the accuracy, whatever the objectives
            _check_accuracy(name, objectives)
        checkpoints = attributes.get("checkpoints")
        return Study(
            name=name,
            user_attrs=attributes,
            objectives=objectives,
            records=tuple(_records(connection, study_id, objectives, checkpoints)),
        )


def _find(name: str, ids: Mapping[str, int]) -> int:
    if not ids:
        raise InputError(f"there is no study '{name}': the DB holds no studies yet")
    if name not in ids:
        raise unknown("study", name, ids)
    return ids[name]


def _check_accuracy(study: str, objectives: Sequence[Objective]) -> None:
    names = [objective.name for objective in objectives]
    if "accuracy" not in names:
        raise InputError(
            f"study '{study}' has no objective named 'accuracy', only {', '.join(names)}: "
            "name its objectives with Optuna's Study.set_metric_names"
        )


def _summarise(connection: Connection, study_id: int, name: str) -> StudySummary:
    trials = tables.trial_rows(connection, study_id)
    objectives = tables.objectives(connection, study_id)
    complete = tables.final_values(connection, study_id, objectives)
    finals = list(complete.values())
    accuracies = [final["accuracy"] for final in finals if "accuracy" in final]
    if finals and not accuracies and "config" in tables.study_attributes(connection, study_id):
        curves = tables.curves(connection, study_id)  # which are of the accuracy, whatever the objectives
        accuracies = [next(reversed(curves[trial].values())) for trial in complete if trial in curves]
    starts = [trial.started for trial in trials if trial.started]
    ends = [trial.ended for trial in trials if trial.ended]
    count = Counter(trial.state for trial in trials)
    return StudySummary(
        name=name,
        trials={state: count[state] for state in STATES},
        best_accuracy=max(accuracies, default=None),
        front_size=len(front(_losses(objectives, finals))),
        started=min(starts, default=None),
        last_change=max(starts + ends, default=None),
    )


def _records(
    connection: Connection, study_id: int, objectives: Sequence[Objective], checkpoints: str | None
) -> Iterable[TrialRecord]:
    finals = tables.final_values(connection, study_id, objectives)
    attributes = tables.trial_attributes(connection, study_id, _ATTRIBUTES)
    curves = tables.curves(connection, study_id)
    parameters = tables.parameters(connection, study_id)
    complete = list(finals)
    on_front = {complete[index] for index in front(_losses(objectives, list(finals.values())))}
    for trial in tables.trial_rows(connection, study_id):
        said = attributes.get(trial.id, {})
        final = finals.get(trial.id, {})
        curve = curves.get(trial.id, {})
        last = next(reversed(curve.values()), None) if trial.state == "COMPLETE" else None
        yield TrialRecord(
            number=trial.number,
            state=trial.state,
            architecture_json=said.get("architecture"),
            architecture_id=_decoded(said, "architecture_id", str),
            accuracy=final.get("accuracy", last),
            flops=_decoded(said, "flops", int) or _whole(final.get("flops")),
            params=_decoded(said, "params", int) or _whole(final.get("params")),
            epochs=max(curve, default=None if trial.state == "COMPLETE" else 0),
            duration_s=(trial.ended - trial.started).total_seconds() if trial.ended and trial.started else None,
            started=trial.started,
            is_pareto=trial.id in on_front,
            curve=tuple(curve.values()),
            fail_reason=_decoded(said, "fail_reason", str),
            baseline=_decoded(said, "baseline", str),
            checkpoint=checkpoint_folder(checkpoints, trial.number) if checkpoints else None,
            parameters=parameters.get(trial.id, {}),
            metrics=(_decoded(said, "ending", dict) or {}).get("metrics", {}),
            objectives=final,
        )


def _decoded(said: Mapping[str, str], key: str, kind: type[_T]) -> _T | None:
    """An attribute if the trial has it and it is what senas would have written."""
    value = json.loads(said[key]) if key in said else None
    return value if isinstance(value, kind) else None


def _whole(value: float | None) -> int | None:
    """A count that was an objective, which Optuna keeps as a float."""
    return int(value) if value is not None and value % 1 == 0 else None


def _losses(objectives: Sequence[Objective], finals: Sequence[Mapping[str, float]]) -> list[list[float]]:
    return [[objective.loss(final[objective.name]) for objective in objectives] for final in finals]


def _by_cost(record: TrialRecord) -> tuple[float, float, int]:
    return (inf if record.flops is None else record.flops, -(record.accuracy or 0.0), record.number)


def _by_accuracy(record: TrialRecord) -> tuple[float, float, int]:
    return (-(record.accuracy or 0.0), inf if record.flops is None else record.flops, record.number)


def _within(cost: int | None, limit: float | None) -> bool:
    """Whether a cost keeps a limit; an unknown cost keeps none."""
    return limit is None or (cost is not None and cost <= limit)
