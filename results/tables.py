"""What an Optuna study DB holds, read in bulk and without Optuna.

Optuna takes most of a second to import, creates tables as it connects, and is slow to load thousands of trials.
The tables and encodings are those of ``optuna/storages/_rdb/models.py``, unchanged since Optuna 3.0. Everything of
a trial is keyed by its id, which is unique in the DB; its number is unique in its study.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from math import inf, nan
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from results.records import State
from search_space.errors import InputError


def _table(name: str, *columns: str) -> sa.TableClause:
    types = {"datetime_start": sa.DateTime, "datetime_complete": sa.DateTime}
    return sa.table(name, *(sa.column(column, types.get(column)) for column in columns))


_STUDIES = _table("studies", "study_id", "study_name")
_DIRECTIONS = _table("study_directions", "study_id", "objective", "direction")
_USER_ATTRS = _table("study_user_attributes", "study_id", "key", "value_json")
_SYSTEM_ATTRS = _table("study_system_attributes", "study_id", "key", "value_json")
_TRIALS = _table("trials", "study_id", "trial_id", "number", "state", "datetime_start", "datetime_complete")
_VALUES = _table("trial_values", "trial_id", "objective", "value", "value_type")
_CURVES = _table("trial_intermediate_values", "trial_id", "step", "intermediate_value", "intermediate_value_type")
_TRIAL_ATTRS = _table("trial_user_attributes", "trial_id", "key", "value_json")
_PARAMS = _table("trial_params", "trial_id", "param_name", "param_value", "distribution_json")

_ALL = (_STUDIES, _DIRECTIONS, _USER_ATTRS, _SYSTEM_ATTRS, _TRIALS, _VALUES, _CURVES, _TRIAL_ATTRS, _PARAMS)


@dataclass(frozen=True)
class Objective:
    """One objective of a study and whether it is maximised."""

    name: str
    maximize: bool

    def loss(self, value: float) -> float:
        """The value as something to minimise."""
        return -value if self.maximize else value


class TrialRow(NamedTuple):
    """A row of the table of trials; times are in UTC."""

    id: int
    number: int
    state: State
    started: datetime | None
    ended: datetime | None


def check_tables(connection: Connection) -> None:
    """Raises an InputError unless the DB has the tables of an Optuna study DB."""
    present = set(sa.inspect(connection).get_table_names())
    missing = [table.name for table in _ALL if table.name not in present]
    if missing:
        raise InputError(f"this is not an Optuna study DB: it has no table '{missing[0]}'")


def study_ids(connection: Connection) -> dict[str, int]:
    """The studies' ids by name, in the order of their making."""
    query = sa.select(_STUDIES.c.study_name, _STUDIES.c.study_id).order_by(_STUDIES.c.study_id)
    return dict(_rows(connection, query))


def objectives(connection: Connection, study: int) -> tuple[Objective, ...]:
    """The objectives, named by their index where the study does not name them."""
    maximize = {
        index: direction == "MAXIMIZE"
        for index, direction in _rows(connection, _of_study(_DIRECTIONS, study, "objective", "direction"))
    }
    attrs = dict(_rows(connection, _of_study(_SYSTEM_ATTRS, study, "key", "value_json")))
    names = json.loads(attrs.get("study:metric_names", "null")) or [f"objective {i}" for i in sorted(maximize)]
    return tuple(Objective(names[index], maximize[index]) for index in sorted(maximize))


def study_attributes(connection: Connection, study: int) -> dict[str, Any]:
    """The user attributes of a study."""
    rows = _rows(connection, _of_study(_USER_ATTRS, study, "key", "value_json"))
    return {key: json.loads(value) for key, value in rows}


def trial_rows(connection: Connection, study: int) -> list[TrialRow]:
    """The trials by number."""
    columns = ("trial_id", "number", "state", "datetime_start", "datetime_complete")
    rows = _rows(connection, _of_study(_TRIALS, study, *columns).order_by(_TRIALS.c.number))
    return [TrialRow(trial, number, state, _utc(start), _utc(end)) for trial, number, state, start, end in rows]


def final_values(connection: Connection, study: int, measured: Sequence[Objective]) -> dict[int, dict[str, float]]:
    """The objectives of every COMPLETE trial. Optuna lets other trials have values too; those are not final."""
    query = _of_trials(_VALUES, study, "trial_id", "objective", "value", "value_type", also=_TRIALS.c.state)
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for trial, index, value, kind, state in _rows(connection, query):
        if state == "COMPLETE":
            found[trial][measured[index].name] = _decode_number(value, kind)
    return found


def trial_attributes(connection: Connection, study: int, keys: Sequence[str]) -> dict[int, dict[str, str]]:
    """The user attributes of those keys, as JSON text: whoever needs one decodes it."""
    query = _of_trials(_TRIAL_ATTRS, study, "trial_id", "key", "value_json")
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for trial, key, value in _rows(connection, query.where(_TRIAL_ATTRS.c.key.in_(keys))):
        found[trial][key] = value
    return found


def curves(connection: Connection, study: int) -> dict[int, dict[int, float]]:
    """The intermediate values by step, in the order of steps."""
    query = _of_trials(_CURVES, study, "trial_id", "step", "intermediate_value", "intermediate_value_type")
    rows = sorted(_rows(connection, query), key=itemgetter(0, 1))
    return {
        trial: {step: _decode_number(value, kind) for _, step, value, kind in steps}
        for trial, steps in groupby(rows, key=itemgetter(0))
    }


def parameters(connection: Connection, study: int) -> dict[int, dict[str, Any]]:
    """The parameters by name, as the values that were proposed."""
    query = _of_trials(_PARAMS, study, "trial_id", "param_name", "param_value", "distribution_json")
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial, name, value, distribution in _rows(connection, query):
        found[trial][name] = _decoder(distribution)(value)
    return found


def _of_study(table: sa.TableClause, study: int, *columns: str) -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in columns)).where(table.c.study_id == study)


def _of_trials(
    table: sa.TableClause, study: int, *columns: str, also: sa.ColumnElement[Any] | None = None
) -> sa.Select[Any]:
    """The columns of a table that belongs to trials, and one of theirs, for all trials of a study."""
    wanted = [*(table.c[name] for name in columns), *([] if also is None else [also])]
    joined = table.join(_TRIALS, table.c.trial_id == _TRIALS.c.trial_id)
    return sa.select(*wanted).select_from(joined).where(_TRIALS.c.study_id == study)


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


def _utc(time: datetime | None) -> datetime | None:
    """Optuna keeps times in UTC and without saying so."""
    return time.replace(tzinfo=UTC) if time else None
