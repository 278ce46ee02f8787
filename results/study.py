"""The studies of a study DB, and what a study says of its trials."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from results import checkpoint_places, tables
from results.best import best_of, rank
from results.checkpoint_places import Curves
from results.database import reading
from results.front import front
from results.records import STATES, State, TrialRecord
from results.schema import check_schema
from results.stored_trials import StoredTrials
from results.tables import Chosen, Objective
from search_space.errors import InputError, unknown
from search_space.site import Sites, recorded_sites

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class StudySummary:
    """What a study comes to.

    Attributes:
        trials: number of trials by state, every state listed.
        objective: name of the first objective, by which the best trial is chosen.
        best_trial: number of the best trial; None without a COMPLETE one.
        best_value: value of the first objective in the best trial.
        best_accuracy: validation accuracy of the best trial, 0 to 1; None if it is unknown.
        front_size: number of COMPLETE trials on the front.
        started: when the first trial started, in UTC.
        last_change: when a trial last started or ended, in UTC.
    """

    name: str
    trials: Mapping[State, int] = field(hash=False)
    objective: str
    best_trial: int | None
    best_value: float | None
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
            "objective": self.objective,
            "best_trial": self.best_trial,
            "best_value": self.best_value,
            "front_size": self.front_size,
            "started": self.started.isoformat() if self.started else None,
            "last_change": self.last_change.isoformat() if self.last_change else None,
        }


class Study:
    """A study, whose trials are read when they are first asked for.

    What is told of :attr:`records`, by :meth:`front`, :meth:`best`, :meth:`baselines` and :meth:`trial` as well, is of
    one moment: that of the first such question. A question of its own to :meth:`trials` or :meth:`frame` is answered
    as of when it is asked. Open the study again to see what has happened since.

    Attributes:
        user_attrs: all that the search recorded of itself.
        objectives: in the study's own order.
    """

    def __init__(
        self,
        name: str,
        user_attrs: Mapping[str, Any],
        objectives: Sequence[Objective],
        records: Iterable[TrialRecord] | None = None,
        *,
        stored: StoredTrials | None = None,
    ) -> None:
        """Of trials that are stored in a DB, or of records alone, which then cannot be filtered."""
        self.name = name
        self.user_attrs = user_attrs
        self.objectives = tuple(objectives)
        self._records = None if records is None else tuple(records)
        self._stored = stored

    def __repr__(self) -> str:
        return f"Study(name={self.name!r}, objectives={self.objectives})"

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All trials by number, whatever their state."""
        if self._records is None:
            self._records = tuple(self._in_db().read())
        return self._records

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The configuration of the search as plain data; None if senas did not make the study."""
        return self.user_attrs.get("config")

    @property
    def epochs(self) -> int | None:
        """The full budget of a trial, in epochs; None if senas did not make the study."""
        return self.user_attrs.get("epochs")

    @property
    def sites(self) -> Sites | None:
        """The sites that the search is over; None if senas did not make the study."""
        return None if self.config is None else recorded_sites(self.config.get("space") or {})

    @property
    def scored_by(self) -> str:
        """Which images gave the accuracies: "validation", or "test" in a final evaluation."""
        return "test" if "test" in self.user_attrs.get("fingerprints", {}) else "validation"

    @property
    def scoring_images(self) -> int | None:
        """How many images each accuracy was counted on; None if the study does not say."""
        counts = self.user_attrs.get("images")
        count = counts.get(self.scored_by) if isinstance(counts, Mapping) else None
        return count if isinstance(count, int) and count > 0 else None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes in the order of labels; None if the study does not say."""
        names = self.user_attrs.get("class_names")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            return None
        return tuple(names)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of all parameters that a trial of the study has, sorted."""
        return tuple(sorted({name for record in self.records for name in record.parameters}))

    @cached_property
    def distributions(self) -> Mapping[str, Sequence[str]]:
        """What each parameter was drawn from, by its name, as Optuna's JSON; several where its range was changed.

        Nothing is known of it in a study that is made of records alone.
        """
        return self._stored.distributions() if self._stored else {}

    def trials(
        self,
        where: str | None = None,
        *,
        sort: str | None = None,
        limit: int | None = None,
    ) -> list[TrialRecord]:
        """The trials for which an expression holds; all of :attr:`records`, if nothing is asked for.

        Args:
            where: an expression such as ``accuracy > 0.9 and layer3.position == 'pre'``; docs/queries.md has them all.
            sort: a name such as ``accuracy``, or ``-accuracy`` for from high to low; by number, if not given. Trials
                that lack it come last.
            limit: at most so many.

        Raises:
            InputError: the expression or the name is wrong; the message names what, and where.
        """
        if where is None and sort is None and limit is None:
            return list(self.records)
        return self._in_db().read(where, sort=sort, limit=limit)

    def count(self, where: str | None = None) -> int:
        """How many trials an expression holds for, without reading them.

        Raises:
            InputError: as for :meth:`trials`.
        """
        return self._in_db().count(where)

    def frame(
        self,
        where: str | None = None,
        *,
        sort: str | None = None,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> "pandas.DataFrame":
        """The trials as a pandas frame, a row each.

        Args:
            where: as for :meth:`trials`; so are ``sort`` and ``limit``.
            columns: their names in expressions, such as ``accuracy`` or ``layer3.position``. If not given, all but
                the architecture and the curve: those of ``--json``, the further objectives and the parameters.

        Raises:
            InputError: as for :meth:`trials`, or a column is unknown.
        """
        import pandas  # as long to load as most queries take

        return pandas.DataFrame(self.columns(self.trials(where, sort=sort, limit=limit), columns))

    def columns(self, trials: Sequence[TrialRecord], names: Iterable[str] | None = None) -> dict[str, list[Any]]:
        """The values of trials by column, for a table of one's own.

        Args:
            names: of the columns, as for :meth:`frame`.

        Raises:
            InputError: a name is unknown.
        """
        from results.rows import columns_of

        objectives = [objective.name for objective in self.objectives]
        return columns_of(trials, names, objectives=objectives, parameters=lambda: self.parameters)

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
        on_front = front(tables.losses(self.objectives, [record.objectives for record in records]))
        return sorted((records[index] for index in on_front), key=self._by_cost)

    def best(self, max_flops: float | None = None, max_params: float | None = None) -> TrialRecord | None:
        """Return the COMPLETE trial within the limits that is best in the first objective.

        Of equal ones the later objectives decide, then FLOPs: see :mod:`results.best`.

        Args:
            max_flops: most multiply-adds of one forward pass.
            max_params: most parameters.

        Returns:
            None if no COMPLETE trial within the limits has a finite value of the first objective.
        """
        return best_of(self._complete(max_flops, max_params), self.objectives)

    def baselines(self) -> list[TrialRecord]:
        """The baselines by number, whatever their state."""
        return [record for record in self.records if record.is_baseline]

    def _by_cost(self, record: TrialRecord) -> tuple[float, ...]:
        return (inf if record.flops is None else record.flops, *rank(record, self.objectives))

    def _in_db(self) -> StoredTrials:
        if self._stored is None:
            raise ValueError(f"study '{self.name}' is made of records, not read from a DB that could be asked")
        return self._stored

    def _complete(self, max_flops: float | None, max_params: float | None) -> list[TrialRecord]:
        return [
            record
            for record in self.records
            if record.objectives and _within(record.flops, max_flops) and _within(record.params, max_params)
        ]


def studies(url: str) -> list[StudySummary]:
    """The studies of a DB, in the order of their making, those of other Optuna programs included.

    Args:
        url: an SQLAlchemy URL such as ``sqlite:///senas.db``.

    Raises:
        InputError: there is no Optuna study DB at the URL.
    """
    with reading(url) as connection:
        check_schema(connection)
        return [_summarise(connection, study_id, name) for name, study_id in tables.study_ids(connection).items()]


def open_study(url: str, name: str, *, checkpoints: str | Path | None = None) -> Study:
    """A study of a DB. Its trials are read when they are asked for.

    Any Optuna study with an objective named "accuracy" will do; what senas would have recorded is None.

    Args:
        url: an SQLAlchemy URL such as ``sqlite:///senas.db``.
        name: the study's name.
        checkpoints: the folder, or the URL, that has the study's checkpoints, or one above it; not given, they are
            looked for where the study recorded them and at the same place relative to the study DB.

    Raises:
        InputError: there is no Optuna study DB at the URL, no such study in it, it has no accuracy, or
            ``checkpoints`` has none of the study's.
    """
    with reading(url) as connection:
        check_schema(connection)
        study_id = find_study(connection, name)
        objectives = tables.objectives(connection, study_id)
        attributes = tables.study_attributes(connection, study_id)
    if "config" not in attributes:  # the intermediate values of our own are the accuracy, whatever the objectives
        _check_accuracy(name, objectives)
    if checkpoints is None:
        place = _checkpoints(url, study_id, attributes)
    else:
        place = checkpoint_places.among(str(checkpoints), name, partial(_curves, url, study_id))
        if place is None:
            raise InputError(
                f"there are no checkpoints of study '{name}' in {checkpoints}: name the folder that has trial-00000"
            )
    stored = StoredTrials(url, study_id, objectives, place)
    return Study(name=name, user_attrs=attributes, objectives=objectives, stored=stored)


def checkpoints_of(url: str, name: str) -> str | None:
    """Return the folder, or the URL, of a study's checkpoints as they are now; None if senas did not make the study.

    Args:
        url: an SQLAlchemy URL such as ``sqlite:///senas.db``.
        name: the study's name.

    Raises:
        InputError: there is no Optuna study DB at the URL, or no such study in it.
    """
    with reading(url) as connection:
        check_schema(connection)
        study_id = find_study(connection, name)
        attributes = tables.study_attributes(connection, study_id)
    return _checkpoints(url, study_id, attributes)


def find_study(connection: Connection, name: str) -> int:
    """A study's id in the DB.

    Raises:
        InputError: there is no such study; the message names the nearest.
    """
    ids = tables.study_ids(connection)
    if not ids:
        raise InputError(f"there is no study '{name}': the DB holds no studies yet")
    if name not in ids:
        raise unknown("study", name, ids)
    return ids[name]


def _checkpoints(url: str, study_id: int, attributes: Mapping[str, Any]) -> str | None:
    if "checkpoints" not in attributes:
        return None
    return checkpoint_places.locate(attributes, url, partial(_curves, url, study_id))


def _curves(url: str, study_id: int) -> Curves:
    chosen = Chosen(study_id)
    with reading(url) as connection:
        found = tables.curves(connection, chosen)
        return {trial.number: found.get(trial.id, {}) for trial in tables.trial_rows(connection, chosen)}


def _check_accuracy(study: str, objectives: Sequence[Objective]) -> None:
    if not _has_accuracy(objectives):
        names = [objective.name for objective in objectives]
        raise InputError(
            f"study '{study}' has no objective named 'accuracy', only {', '.join(names)}: "
            "name its objectives with Optuna's Study.set_metric_names"
        )


def _has_accuracy(objectives: Sequence[Objective]) -> bool:
    return any(objective.name == "accuracy" for objective in objectives)


def _summarise(connection: Connection, study_id: int, name: str) -> StudySummary:
    everything = Chosen(study_id)
    trials = tables.trial_rows(connection, everything)
    objectives = tables.objectives(connection, study_id)
    finals = tables.final_values(connection, everything, objectives)
    best = StoredTrials("", study_id, objectives, checkpoints=None).best(connection)
    # The intermediate values of our own are the accuracy, whatever the objectives.
    has_accuracy = _has_accuracy(objectives) or "config" in tables.study_attributes(connection, study_id)
    starts = [trial.started for trial in trials if trial.started]
    ends = [trial.ended for trial in trials if trial.ended]
    count = Counter(trial.state for trial in trials)
    return StudySummary(
        name=name,
        trials={state: count[state] for state in STATES},
        objective=objectives[0].name,
        best_trial=None if best is None else best.number,
        best_value=None if best is None else best.objectives[objectives[0].name],
        best_accuracy=best.accuracy if best is not None and has_accuracy else None,
        front_size=len(front(tables.losses(objectives, finals.values()))),
        started=min(starts, default=None),
        last_change=max(starts + ends, default=None),
    )


def _within(cost: float | None, limit: float | None) -> bool:
    """Whether a cost keeps a limit; an unknown cost keeps none."""
    return limit is None or (cost is not None and cost <= limit)
