"""A new trial's rows, written at once.

Optuna's RDBStorage makes a trial of a template with two or three statements for each of its parameters, which is most
of what a driver spends on a trial (benchmarks/engine.py). Here a trial takes one transaction of five statements, and
leaves the same rows, as a test compares. The tables are those of ``optuna/storages/_rdb/models.py``.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial

CreateTrial = Callable[[int, FrozenTrial], tuple[int, int]]
"""Creates a RUNNING trial of a study, by the study's id, as a template has it; gives the trial's id and number."""

_STUDIES = sa.table("studies", sa.column("study_id"))
_TRIALS = sa.Table(
    "trials",
    sa.MetaData(),
    sa.Column("trial_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer),
    sa.Column("study_id", sa.Integer),
    sa.Column("state", sa.Enum("RUNNING", name="trialstate")),
    sa.Column("datetime_start", sa.DateTime),
)
_PARAMETERS = sa.table("trial_params", *map(sa.column, ("trial_id", "param_name", "param_value", "distribution_json")))
_ATTRIBUTES = sa.table("trial_user_attributes", *map(sa.column, ("trial_id", "key", "value_json")))


def create_by_rows(engine: sa.Engine) -> CreateTrial:
    """Creates trials in an Optuna DB of the schema since version 3.0."""

    def create(study_id: int, template: FrozenTrial) -> tuple[int, int]:
        with engine.begin() as connection:
            # As Optuna does it, so that two writers cannot take one number.
            study = sa.select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study_id)
            if connection.execute(study.with_for_update()).one_or_none() is None:
                raise KeyError(f"there is no study with the id {study_id}")
            last = sa.select(sa.func.max(_TRIALS.c.number)).where(_TRIALS.c.study_id == study_id)
            known = connection.execute(last).scalar_one()
            number = 0 if known is None else known + 1
            row = {
                "number": number,
                "study_id": study_id,
                "state": "RUNNING",
                "datetime_start": _in_utc(template.datetime_start),
            }
            key = connection.execute(_TRIALS.insert().values(row)).inserted_primary_key
            assert key is not None
            parameters = [
                {
                    "trial_id": key[0],
                    "param_name": name,
                    "param_value": template.distributions[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(template.distributions[name]),
                }
                for name, value in template.params.items()
            ]
            attributes = [
                {"trial_id": key[0], "key": name, "value_json": json.dumps(value)}
                for name, value in template.user_attrs.items()
            ]
            for table, rows in ((_PARAMETERS, parameters), (_ATTRIBUTES, attributes)):
                if rows:
                    connection.execute(table.insert(), rows)
        return int(key[0]), number

    return create


def _in_utc(time: datetime | None) -> datetime | None:
    """Return a time in UTC without an offset, as Optuna stores it; a time without an offset is local."""
    return time and time.astimezone(UTC).replace(tzinfo=None)
