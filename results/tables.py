"""What an Optuna study DB holds, read in bulk and without Optuna.

Optuna takes most of a second to import, creates tables as it connects, and is slow to load thousands of trials.
The encodings are those of ``optuna/storages/_rdb/models.py``, unchanged since Optuna 3.0.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from math import inf, nan
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from results import start_times
from results.records import State
from results.schema import (
    CURVES,
    DIRECTIONS,
    PARAMETERS,
    STUDIES,
    STUDY_ATTRIBUTES,
    SYSTEM_ATTRIBUTES,
    TRIAL_ATTRIBUTES,
    TRIALS,
    VALUES,
)

_NONE = timedelta(0)

_KINDS: dict[str, type] = {
    "config": dict,
    "epochs": int,
    "normalisation": dict,
    "fingerprints": dict,
    "images": dict,
    "class_names": list,
    "checkpoints": str,
    "database": str,
    "runs": list,
    start_times.IN_UTC_FROM: int,
}
"""What senas writes of a study, by the name of the user attribute."""


@dataclass(frozen=True)
class Objective:
    """One objective of a study and whether it is maximised."""

    name: str
    maximize: bool

    def loss(self, value: float) -> float:
        """The value as something to minimise."""
        return -value if self.maximize else value


def losses(objectives: Sequence[Objective], finals: Iterable[Mapping[str, float]]) -> list[list[float]]:
    """The final values of trials as points of which every axis is minimised."""
    return [[objective.loss(final[objective.name]) for objective in objectives] for final in finals]


class Chosen(NamedTuple):
    """All trials of a study, or those of some ids."""

    study: int
    ids: Sequence[int] | None = None


class TrialRow(NamedTuple):
    """A row of the table of trials; times are in UTC."""

    id: int
    number: int
    state: State
    started: datetime | None
    ended: datetime | None


def study_ids(connection: Connection) -> dict[str, int]:
    """The studies' ids by name, in the order of their making."""
    query = sa.select(STUDIES.c.study_name, STUDIES.c.study_id).order_by(STUDIES.c.study_id)
    return dict(_rows(connection, query))


def objectives(connection: Connection, study: int) -> tuple[Objective, ...]:
    """The objectives, named by their index where the study does not name them."""
    maximize = {
        index: direction == "MAXIMIZE"
        for index, direction in _rows(connection, _of_study(DIRECTIONS, study, "objective", "direction"))
    }
    attrs = dict(_rows(connection, _of_study(SYSTEM_ATTRIBUTES, study, "key", "value_json")))
    names = json.loads(attrs.get("study:metric_names", "null")) or [f"objective {i}" for i in sorted(maximize)]
    return tuple(Objective(names[index], maximize[index]) for index in sorted(maximize))


def study_attributes(connection: Connection, study: int) -> dict[str, Any]:
    """The user attributes of a study; one that has a name of senas's and is of another kind is somebody else's."""
    rows = _rows(connection, _of_study(STUDY_ATTRIBUTES, study, "key", "value_json"))
    decoded = {key: json.loads(value) for key, value in rows}
    return {key: value for key, value in decoded.items() if isinstance(value, _KINDS.get(key, object))}


def trial_rows(connection: Connection, chosen: Chosen) -> list[TrialRow]:
    """The trials by number."""
    columns = ("trial_id", "number", "state", "datetime_start", "datetime_complete")
    rows = _rows(connection, _of_trials(TRIALS, chosen, *columns).order_by(TRIALS.c.number))
    offsets = start_offsets(connection, chosen.study)
    return [
        TrialRow(trial, number, state, _corrected(_utc(start), offsets.get(number, _NONE)), _utc(end))
        for trial, number, state, start, end in rows
    ]


def start_offsets(connection: Connection, study: int) -> dict[int, timedelta | None]:
    """Return what to subtract from starts that are stored in local time, by the number of the trial.

    None stands for an offset that is unknown. Studies of other programs have none, as Optuna stores UTC.
    """
    said = study_attributes(connection, study)
    if "config" not in said or said.get(start_times.IN_UTC_FROM) == 0:
        return {}
    query = _of_study(TRIALS, study, "number", "datetime_start", "datetime_complete").order_by(TRIALS.c.number)
    trials = [start_times.Stored(number, start, _utc(end)) for number, start, end in _rows(connection, query)]
    runs = [started for run in said.get("runs", []) if (started := _start_of_run(run)) is not None]
    in_utc_from = said.get(start_times.IN_UTC_FROM, len(trials))
    return start_times.offsets(trials, runs, datetime.now(UTC), in_utc_from)


def final_values(connection: Connection, chosen: Chosen, measured: Sequence[Objective]) -> dict[int, dict[str, float]]:
    """The objectives of every COMPLETE trial. Optuna lets other trials have values too; those are not final."""
    query = _of_trials(VALUES, chosen, "trial_id", "objective", "value", "value_type")
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for trial, index, value, kind in _rows(connection, query.where(is_state("COMPLETE"))):
        found[trial][measured[index].name] = _decode_number(value, kind)
    return found


def trial_attributes(connection: Connection, chosen: Chosen, keys: Sequence[str]) -> dict[int, dict[str, str]]:
    """The user attributes of those keys, as JSON text: whoever needs one decodes it."""
    query = _of_trials(TRIAL_ATTRIBUTES, chosen, "trial_id", "key", "value_json")
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for trial, key, value in _rows(connection, query.where(TRIAL_ATTRIBUTES.c.key.in_(keys))):
        found[trial][key] = value
    return found


def curves(connection: Connection, chosen: Chosen) -> dict[int, dict[int, float]]:
    """The intermediate values by step, in the order of steps."""
    query = _of_trials(CURVES, chosen, "trial_id", "step", "intermediate_value", "intermediate_value_type")
    rows = sorted(_rows(connection, query), key=itemgetter(0, 1))
    return {
        trial: {step: _decode_number(value, kind) for _, step, value, kind in steps}
        for trial, steps in groupby(rows, key=itemgetter(0))
    }


def parameters(connection: Connection, chosen: Chosen) -> dict[int, dict[str, Any]]:
    """The parameters by name, as the values that were proposed."""
    query = _of_trials(PARAMETERS, chosen, "trial_id", "param_name", "param_value", "distribution_json")
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial, name, value, distribution in _rows(connection, query):
        found[trial][name] = _decoder(distribution)(value)
    return found


def parameter_names(connection: Connection, study: int) -> list[str]:
    """The names of all parameters that a trial of the study has, sorted."""
    names = _of_trials(PARAMETERS, Chosen(study), "param_name").distinct()
    return sorted(name for (name,) in _rows(connection, names))


def choices(connection: Connection, study: int, parameter: str) -> dict[str, list[Any] | None] | None:
    """What a parameter is drawn from, by its distribution as JSON text: its choices, or None for a range of numbers.

    Returns:
        None if no trial of the study has the parameter.
    """
    texts = _of_trials(PARAMETERS, Chosen(study), "distribution_json").where(PARAMETERS.c.param_name == parameter)
    found = {text: json.loads(text) for (text,) in _rows(connection, texts.distinct())}
    return {text: said["attributes"].get("choices") for text, said in found.items()} or None


def distributions(connection: Connection, study: int) -> dict[str, list[str]]:
    """The distributions of each parameter by name, as JSON text, each once."""
    query = _of_trials(PARAMETERS, Chosen(study), "param_name", "distribution_json").distinct()
    found: dict[str, list[str]] = defaultdict(list)
    for name, text in sorted(_rows(connection, query)):
        found[name].append(text)
    return dict(found)


def is_state(state: State) -> sa.ColumnElement[bool]:
    """That a trial is in a state, whose column is of a type of its own on some servers."""
    return sa.cast(TRIALS.c.state, sa.Text()) == state


def _of_study(table: sa.TableClause, study: int, *columns: str) -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in columns)).where(table.c.study_id == study)


def _of_trials(table: sa.TableClause, chosen: Chosen, *columns: str) -> sa.Select[Any]:
    """The columns of a table that belongs to trials, or of theirs."""
    source = table if table is TRIALS else table.join(TRIALS, table.c.trial_id == TRIALS.c.trial_id)
    query = _of_study(TRIALS, chosen.study).with_only_columns(*(table.c[name] for name in columns))
    query = query.select_from(source)
    return query if chosen.ids is None else query.where(among(chosen.ids))


def among(ids: Iterable[int]) -> sa.ColumnElement[bool]:
    """That a trial is one of those ids. They stand in the statement itself, which may have any number of them."""
    return TRIALS.c.trial_id.in_(sa.bindparam(None, list(ids), sa.Integer(), expanding=True, literal_execute=True))


def _rows(connection: Connection, query: sa.Select[Any]) -> list[Any]:
    return list(connection.execute(query).all())


def _decode_number(value: float | None, kind: str) -> float:
    """Optuna keeps what SQL has no number for as NULL and a kind: INF_POS, INF_NEG or NAN."""
    if value is not None:
        return value
    return {"INF_POS": inf, "INF_NEG": -inf}.get(kind, nan)


@lru_cache(maxsize=4096)
def _decoder(distribution_json: str) -> Callable[[float], Any]:
    """From the number that Optuna keeps, for a categorical parameter its index, to the value proposed."""
    distribution = json.loads(distribution_json)
    kind = distribution["name"]
    if kind == "CategoricalDistribution":
        choices = distribution["attributes"]["choices"]
        return lambda index: choices[int(index)]
    return int if kind.startswith("Int") else float


def _start_of_run(run: object) -> datetime | None:
    """When a run of the search started; None if it does not say so in a way that can be read."""
    said = run.get("started") if isinstance(run, dict) else None
    try:
        started = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return started if started is not None and started.tzinfo is not None else None


def _corrected(start: datetime | None, offset: timedelta | None) -> datetime | None:
    return None if start is None or offset is None else start - offset


def _utc(time: datetime | None) -> datetime | None:
    """Optuna keeps times in UTC and without saying so."""
    return time.replace(tzinfo=UTC) if time else None
