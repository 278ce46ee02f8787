"""A connection to a study DB that reads and never writes."""

import gc
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from search_space.errors import InputError, first_line

_POSTGRESQL = {
    "53100": "free some space on the server",
    "25006": "wait until the server accepts writes",
}
"""What to do about errors of PostgreSQL, by their SQLSTATE: a full disk, and a server or DB that only reads."""

_LITTLE = 1 << 20
"""Bytes of free space, less than which an I/O error may be for want of it."""


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """One moment of a DB: all queries inside see the same rows, whatever a search writes meanwhile.

    Args:
        url: an SQLAlchemy URL such as ``sqlite:///senas.db``.

    Raises:
        InputError: the URL is not one, or what it names is missing, out of reach or no DB.
    """
    address = parse_url(url)
    engine = _engine(address)
    try:
        with uncollected(), engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection
    except sa.exc.DBAPIError as error:
        raise InputError(f"cannot read {shown(address)}: {' '.join(str(error.orig).split())}") from error
    finally:
        engine.dispose()


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which would go again and again through what is read, and all of that stays."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def parse_url(url: str) -> URL:
    """Return a database's URL, of a kind that there is a dialect for.

    White space and quotes around it, which settings in files often have, are left out. The kind may be in capitals and
    ``postgres``, as hosting services write it; ``~`` at the beginning of a file's path is the home folder.

    Raises:
        InputError: it is no URL, or of an unknown kind.
    """
    try:
        address = sa.make_url(_without_quotes(url))
        address = address.set(drivername=re.sub(r"^postgres(?=\+|$)", "postgresql", address.drivername.lower()))
        address.get_dialect()
    except sa.exc.NoSuchModuleError:
        kind = address.drivername
        raise InputError(f"unknown kind of database '{kind}': use sqlite, postgresql or mysql") from None
    except sa.exc.ArgumentError:
        file = url.strip().removeprefix("sqlite:")
        hint = f": for an SQLite file write sqlite:///{file}" if "://" not in url else ""
        raise InputError(f"'{url}' is not a database URL{hint}") from None
    if address.get_backend_name() == "sqlite" and address.database is not None and address.database.startswith("~"):
        address = address.set(database=str(Path(address.database).expanduser()))
    return address


def _without_quotes(url: str) -> str:
    text = url.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def innermost(error: BaseException) -> BaseException:
    """Return the error of the DB's driver that an error was raised from: SQLAlchemy and Optuna wrap it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error


def remedy(error: BaseException, address: URL) -> str | None:
    """Return what makes a DB work again that has failed with an error.

    Returns:
        None if it is not known. Where it is, the error leaves in the DB all that was committed.
    """
    cause = innermost(error)
    if (sqlstate := getattr(cause, "sqlstate", None)) in _POSTGRESQL:
        return _POSTGRESQL[sqlstate]
    if _is_of_space(cause, address):
        return f"free some space in {_folder(address)}"
    match _kind(cause):
        case sqlite3.SQLITE_READONLY:
            return f"make {address.database} and its folder writable"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"end the other program that keeps {address.database} locked"
    return None


def explained(error: BaseException, address: URL) -> str:
    """Return the innermost cause of an error of a DB in one line, with the free space where that is the matter."""
    cause = innermost(error)
    said = first_line(cause)
    return (
        f"{said} ({_free(address) / 1e6:.1f} MB free in {_folder(address)})" if _is_of_space(cause, address) else said
    )


def _is_of_space(cause: BaseException, address: URL) -> bool:
    """Whether SQLite lacked space; what it cannot map into memory for want of space is an I/O error to it."""
    kind = _kind(cause)
    return kind == sqlite3.SQLITE_FULL or (kind == sqlite3.SQLITE_IOERR and _free(address) < _LITTLE)


def _kind(cause: BaseException) -> int:
    """SQLite's primary result code, which is the low byte of the extended one; 0 for another DB."""
    return int(getattr(cause, "sqlite_errorcode", 0)) & 0xFF


def _free(address: URL) -> int:
    return shutil.disk_usage(_folder(address)).free


def _folder(address: URL) -> Path:
    return Path(str(address.database)).absolute().parent


def _engine(address: URL) -> Engine:
    if address.get_backend_name() == "sqlite":
        open_file = partial(_open_sqlite, _existing_file(address))
        return sa.create_engine("sqlite://", creator=open_file, poolclass=sa.NullPool)
    # MySQL, like SQLite, reads one moment within a transaction by itself; PostgreSQL only when told to.
    of_its_own = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    options = of_its_own if address.get_backend_name() == "postgresql" else {}
    try:
        return sa.create_engine(address, poolclass=sa.NullPool, execution_options=options)
    except ModuleNotFoundError as error:
        raise InputError(f"{shown(address)} needs the Python package '{error.name}': install it") from None


def _existing_file(address: URL) -> Path:
    if address.database in (None, "", ":memory:"):
        raise InputError(f"{shown(address)} names no file: write sqlite:///FILE")
    file = Path(str(address.database))
    if not file.exists():
        raise InputError(f"there is no study DB at {file}: check the path, or start a search that makes it")
    if not file.is_file():
        raise InputError(f"{file} is not a file: write sqlite:///FILE")
    return file


def _open_sqlite(file: Path) -> sqlite3.Connection:
    """A connection that can neither create the file nor write to it.

    A driver killed while it wrote leaves a journal that must be rolled back before anyone can read. SQLite does
    so for a connection that may write; such a file gets one, which is then kept from writing anything else.

    A file with a write-ahead log is read through two files beside it. Where they are missing, so that nobody has the
    DB open, and the folder lets us make none or the disk is full, it is read as one that does not change.
    """
    connection = _connect(file, "mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.Error as error:
        connection.close()
        match error.sqlite_errorname:
            case "SQLITE_READONLY_ROLLBACK":
                connection = _connect(file, "mode=rw")
                connection.execute("PRAGMA query_only = ON")
            case "SQLITE_READONLY_DIRECTORY" | "SQLITE_CANTOPEN" | "SQLITE_IOERR_SHMSIZE":
                _check_that_nothing_waits(file)
                connection = _connect(file, "mode=ro&immutable=1")
            case _:
                raise
    return connection


def _check_that_nothing_waits(file: Path) -> None:
    """Refuses to read a file past a log that holds the newest of it."""
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size:
        raise InputError(
            f"cannot read {file}: its last changes are still in {log.name}, which takes a folder that you may write "
            "to: copy both files into one"
        )


def _connect(file: Path, how: str) -> sqlite3.Connection:
    # With isolation_level=None we begin transactions ourselves: Python would begin none for a SELECT.
    return sqlite3.connect(f"file:{quote(str(file))}?{how}", uri=True, isolation_level=None)


def shown(address: URL) -> str:
    """A database's URL as it may be shown: without its password."""
    return address.render_as_string(hide_password=True)
