"""Trials filtered and sorted by the database: an expression becomes SQL over Optuna's tables.

- ``language.py``: from text to a tree.
- ``values.py``: what a name such as ``accuracy`` or ``layer1.position`` is in SQL.
- ``dialects.py``: what SQLite, PostgreSQL and MySQL say differently.
- ``translation.py``: from a tree to SQL.
"""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from results.query.translation import matching, order_by
from results.query.values import Names
from results.schema import TRIALS
from results.tables import Objective


def select_trials(
    connection: Connection,
    study: int,
    objectives: Sequence[Objective],
    on_front: Collection[int],
    *,
    where: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
) -> list[int]:
    """The ids of a study's trials for which an expression holds, in order.

    Args:
        on_front: the ids of the trials on the front, which depends on all of them.
        where: an expression such as ``accuracy > 0.9``; all trials, if not given.
        sort: a name such as ``accuracy``, or ``-accuracy`` for from high to low; by number, if not given.
        limit: at most so many.

    Raises:
        InputError: the expression or the name is wrong; the message names what, and where.
    """
    names = Names(connection, study, objectives, on_front)
    query = sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study)
    if where is not None:
        query = query.where(matching(where, names))
    ordered = query.order_by(*([TRIALS.c.number] if sort is None else order_by(sort, names)))
    return list(connection.scalars(ordered.limit(limit)))
