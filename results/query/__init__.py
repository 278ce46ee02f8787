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
from search_space.errors import InputError, first_line

_MOST = 2**31 - 1
"""What a database takes for a limit, whichever it is."""


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
        InputError: the expression, the name or the limit is wrong; the message names what, and where. Or the database
            refuses a number that the expression comes to: PostgreSQL has none beyond 1.8e308.
    """
    if limit is not None and not 0 <= limit <= _MOST:
        raise InputError(f"limit must be 0 to {_MOST}, not {limit}")
    names = Names(connection, study, objectives, on_front)
    query = sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study)
    if where is not None:
        query = query.where(matching(where, names))
    ordered = query.order_by(*([TRIALS.c.number] if sort is None else order_by(sort, names)))
    try:
        return list(connection.scalars(ordered.limit(limit)))
    except sa.exc.DBAPIError as error:
        if where is None or not _is_of_values(error):
            raise
        raise InputError(f"in `{where}`: {_reason(error)}") from error


def _is_of_values(error: sa.exc.DBAPIError) -> bool:
    """Whether it is the expression's values that the database refuses, and not the reading of the tables."""
    return isinstance(error, sa.exc.DataError) or "out of range" in str(error.orig)


def _reason(error: sa.exc.DBAPIError) -> str:
    said = first_line(error.orig)
    return "a number is out of range" if "out of range" in said else said
