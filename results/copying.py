"""A study's rows from one Optuna DB into another: all of them, of one moment, in one transaction.

``optuna.copy_study`` makes one trial after another, with statements for each parameter, attribute and epoch of it: it
is slow, mixes moments of a study that is being written, and leaves half a study where it breaks off. Both DBs have the
same tables, so here the rows are copied as they are. Only keys are new, since each DB counts its own: a trial is known
by its number meanwhile.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from results.checkpoint_places import database_file
from results.database import explained, reading, shown
from results.schema import check_schema
from results.study import find_study
from search_space.errors import InputError


class _Rows(NamedTuple):
    """The rows of a study, by table: those that belong to the study, and those that belong to its trials."""

    of_study: dict[sa.Table, list[dict[str, Any]]]
    of_trials: dict[sa.Table, list[dict[str, Any]]]


def copy_study(source: str, name: str, target: sa.Engine, new_name: str) -> None:
    """Copies a study, whole or not at all. The source is only read, and may be written meanwhile.

    Args:
        source: the URL of the study DB that has the study.
        name: the study's name there.
        target: of the study DB that is to have it, whose tables Optuna has made.
        new_name: the name that the study is to have there.

    Raises:
        InputError: there is no such study, there is one of the new name, a DB has another schema than Optuna's
            present one, or the target refuses what is to be written.
    """
    rows = _read(source, name)
    try:
        with target.begin() as connection:
            check_schema(connection)
            _write(connection, rows, new_name)
    except sa.exc.DBAPIError as error:
        raise InputError(f"cannot write to {shown(target.url)}: {explained(error, target.url)}") from error


def _read(source: str, name: str) -> _Rows:
    trials = _table("trials")
    with reading(source) as connection:
        check_schema(connection)
        study_id = find_study(connection, name)
        chosen = trials.c.study_id == study_id

        def found(table: sa.Table, query: sa.Select[Any]) -> list[dict[str, Any]]:
            # In the order of their making, which Optuna goes by where it counts and lists trials.
            return [dict(row) for row in connection.execute(query.order_by(*table.primary_key)).mappings()]

        return _Rows(
            {
                table: found(table, sa.select(*_own(table)).where(table.c.study_id == study_id))
                for table in _belonging_to("study_id")
            },
            {
                table: found(table, sa.select(trials.c.number, *_own(table)).join_from(trials, table).where(chosen))
                for table in _belonging_to("trial_id")
            },
        )


def _write(connection: Connection, rows: _Rows, name: str) -> None:
    trials = _table("trials")
    study_id = _begin_study(connection, name)
    for table, found in rows.of_study.items():
        _insert(connection, table, ({**row, "study_id": study_id} for row in _in_its_db(found, connection)))
    numbered = sa.select(trials.c.number, trials.c.trial_id).where(trials.c.study_id == study_id)
    ids: dict[int, int] = dict(connection.execute(numbered).all())
    for table, found in rows.of_trials.items():
        _insert(connection, table, ({"trial_id": ids[row.pop("number")], **row} for row in found))


def _begin_study(connection: Connection, name: str) -> int:
    try:
        key = connection.execute(_table("studies").insert(), {"study_name": name}).inserted_primary_key
    except sa.exc.IntegrityError as error:
        raise InputError(
            f"{shown(connection.engine.url)} has a study '{name}' already: give the copy another name with --as"
        ) from error
    assert key is not None
    return int(key[0])


def _in_its_db(rows: list[dict[str, Any]], connection: Connection) -> list[dict[str, Any]]:
    """Return the rows of a study, in which a study of senas's names the file of its new study DB."""
    if not {"config", "checkpoints", "database"} <= {row.get("key") for row in rows}:
        return rows
    file = database_file(str(connection.engine.url))
    value = json.dumps(None if file is None else str(file))
    return [row | {"value_json": value} if row["key"] == "database" else row for row in rows]


def _insert(connection: Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    listed = list(rows)
    if listed:
        connection.execute(table.insert(), listed)


def _own(table: sa.Table) -> list[sa.Column[Any]]:
    """The columns that say something, and are no key of one DB."""
    return [column for column in table.c if not column.primary_key and not column.foreign_keys]


def _belonging_to(key: str) -> list[sa.Table]:
    """The tables of what belongs to a study, by the key ``study_id``, or to a trial, by ``trial_id``."""
    return [table for table in _metadata().sorted_tables if key in table.c and table.c[key].foreign_keys]


def _table(name: str) -> sa.Table:
    return _metadata().tables[name]


def _metadata() -> sa.MetaData:
    """Optuna's tables, as the version that is installed has them."""
    from optuna.storages._rdb.models import BaseModel

    metadata: sa.MetaData = BaseModel.metadata
    return metadata
