"""The tables of an Optuna study DB.

They are those of ``optuna/storages/_rdb/models.py``, unchanged since Optuna 3.0. Everything of a trial is keyed by its
id, which is unique in the DB; its number is unique in its study.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from search_space.errors import InputError

UNDERSTOOD = ("v3.0.0.d", "v3.2.0.a")
"""The revisions of the schema that have these tables, by the names of Optuna's migrations; the last one is Optuna's own
since 3.2 and only added an index."""

_OLDER = ("v0.9.0.a", "v1.2.0.a", "v1.3.0.a", "v2.4.0.a", "v2.6.0.a", "v3.0.0.a", "v3.0.0.b", "v3.0.0.c")

_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "datetime_start": sa.DateTime(),
    "datetime_complete": sa.DateTime(),
    "intermediate_value": sa.Double(),
    "param_value": sa.Double(),
    "value": sa.Double(),
    **dict.fromkeys(("study_id", "trial_id", "number", "objective", "step"), sa.Integer()),
}


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column, _TYPES.get(column, sa.Text())) for column in columns))


STUDIES = _table("studies", "study_id", "study_name")
DIRECTIONS = _table("study_directions", "study_id", "objective", "direction")
STUDY_ATTRIBUTES = _table("study_user_attributes", "study_id", "key", "value_json")
SYSTEM_ATTRIBUTES = _table("study_system_attributes", "study_id", "key", "value_json")
TRIALS = _table("trials", "study_id", "trial_id", "number", "state", "datetime_start", "datetime_complete")
VALUES = _table("trial_values", "trial_id", "objective", "value", "value_type")
CURVES = _table("trial_intermediate_values", "trial_id", "step", "intermediate_value", "intermediate_value_type")
TRIAL_ATTRIBUTES = _table("trial_user_attributes", "trial_id", "key", "value_json")
PARAMETERS = _table("trial_params", "trial_id", "param_name", "param_value", "distribution_json")

_ALL = (
    STUDIES,
    DIRECTIONS,
    STUDY_ATTRIBUTES,
    SYSTEM_ATTRIBUTES,
    TRIALS,
    VALUES,
    CURVES,
    TRIAL_ATTRIBUTES,
    PARAMETERS,
)


def check_schema(connection: Connection) -> None:
    """Checks that a DB is an Optuna study DB of a schema that is understood.

    Raises:
        InputError: it has not the tables, or those of another version.
    """
    present = set(sa.inspect(connection).get_table_names())
    if "alembic_version" in present:
        revision = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table("alembic_version")))
        if revision not in UNDERSTOOD:
            raise _other_schema(str(revision))
    missing = [table.name for table in _ALL if table.name not in present]
    if missing:
        raise InputError(f"this is not an Optuna study DB: it has no table '{missing[0]}'")


def _other_schema(revision: str) -> InputError:
    mend = (
        "bring it up to date with `optuna storage upgrade --storage URL`"
        if revision in _OLDER
        else "it is of another version of Optuna: use a senas that understands it"
    )
    return InputError(
        f"the study DB has Optuna's schema {revision}, and understood are {' and '.join(UNDERSTOOD)}: {mend}"
    )
