"""What SQLite, PostgreSQL and MySQL say differently, each as one function of SQL.

Text is compared by its code points on all of them, as in Python, and so with regard to case.
"""

from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _Spoken(FunctionElement[Any]):
    """A function with a template for each dialect, into which its arguments go."""

    said: ClassVar[dict[str, str]]

    def __init_subclass__(cls) -> None:
        cls.inherit_cache = True  # SQLAlchemy wants to hear it from each class
        super().__init_subclass__()


@compiles(_Spoken)
def _say(element: _Spoken, compiler: SQLCompiler, **options: Any) -> str:
    dialect = "mysql" if compiler.dialect.name == "mariadb" else compiler.dialect.name
    return element.said[dialect].format(*(compiler.process(clause, **options) for clause in element.clauses))


class JsonString(_Spoken):
    """The text that a JSON string stands for."""

    type = sa.Text()
    said: ClassVar = {
        "sqlite": "json_extract({0}, '$')",
        "postgresql": "(CAST({0} AS json) #>> '{{}}')",
        "mysql": "json_unquote({0})",
    }


class ByCodePoints(_Spoken):
    """A text that is compared by its code points."""

    type = sa.Text()
    said: ClassVar = {
        "sqlite": "{0}",
        "postgresql": '({0} COLLATE "C")',
        "mysql": "(CONVERT({0} USING utf8mb4) COLLATE utf8mb4_bin)",
    }


class PositionOf(_Spoken):
    """Where a text begins in another one, from 1; 0 if nowhere."""

    type = sa.Integer()
    said: ClassVar = {
        "sqlite": "instr({1}, {0})",
        "postgresql": "strpos({1}, {0})",
        "mysql": "instr({1}, {0})",
    }


class Like(_Spoken):
    """Whether a text is like a pattern of ``%`` for any text and ``_`` for any character; nothing else is special.

    SQLite's own LIKE has no regard to case, but GLOB has. The second argument is that of :func:`like_pattern`.
    """

    type = sa.Boolean()
    said: ClassVar = {
        "sqlite": "({0} GLOB {2})",
        "postgresql": "({0} LIKE {1} ESCAPE '!')",
        "mysql": "({0} LIKE {1} ESCAPE '!')",
    }


def like(text: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
    """Whether a text is like a pattern, in which ``%`` is any text and ``_`` any character."""
    glob = "".join({"%": "*", "_": "?"}.get(letter, f"[{letter}]" if letter in "*?[" else letter) for letter in pattern)
    escaped = pattern.replace("!", "!!")
    return Like(text, sa.literal(escaped, sa.Text()), sa.literal(glob, sa.Text()))


class IsoTime(_Spoken):
    """A time as ``datetime.isoformat`` writes it. SQLite keeps it as text, with six digits for the microseconds."""

    type = sa.Text()
    said: ClassVar = {
        "sqlite": "replace(replace({0}, ' ', 'T'), '.000000', '')",
        "postgresql": "replace(to_char({0}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '.000000', '')",
        "mysql": "replace(date_format({0}, '%%Y-%%m-%%dT%%H:%%i:%%s.%%f'), '.000000', '')",
    }


class SecondsLater(_Spoken):
    """A time with a whole number of seconds added, in the form in which the database stores times."""

    type = sa.DateTime()
    said: ClassVar = {
        "sqlite": "(datetime(substr({0}, 1, 19), printf('%+d seconds', {1})) || substr({0}, 20))",
        "postgresql": "({0} + {1} * interval '1 second')",
        "mysql": "timestampadd(second, {1}, {0})",
    }


class SecondsBetween(_Spoken):
    """The seconds from one time to another, to the microsecond."""

    type = sa.Double()
    said: ClassVar = {
        "sqlite": (
            "(((strftime('%s', substr({1}, 1, 19)) - strftime('%s', substr({0}, 1, 19))) * 1000000"
            " + substr({1}, 21) - substr({0}, 21)) / 1e6)"
        ),
        "postgresql": "CAST(extract(epoch FROM {1} - {0}) AS double precision)",
        "mysql": "(timestampdiff(microsecond, {0}, {1}) / 1e6)",
    }
