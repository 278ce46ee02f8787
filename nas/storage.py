"""Opening a study DB for writing, and bearing with its server while it is away.

An SQLite file is written with a write-ahead log (WAL, which the file remembers) and ``synchronous=NORMAL``. A driver
killed at any moment loses nothing that it has committed. A power cut or a crash of the whole machine may lose the
last commits, but what is left is whole: a moment of the study, never a mixture of two. Readers and the writer do not
wait for each other. All of them have to be on one machine, since the log's index is memory that they share: a DB
that several machines use belongs on a server.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage, get_storage

from results.database import explained, innermost, parse_url, remedy, shown
from search_space.errors import InputError, first_line

BUSY_TIMEOUT_S = 60.0
"""How long a connection to an SQLite file waits for another one's transaction to end."""

GIVE_UP_AFTER_S = 600.0
"""How long a server may be away, which is more than a restart or an upgrade of it takes."""

_LOG = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 5.0
_CREATORS = 10
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_T = TypeVar("_T")


class StorageAwayError(RuntimeError):
    """The study DB has not answered for as long as anyone was willing to wait."""


class StorageFailedError(RuntimeError):
    """The study DB can no longer be used, as when its disk is full."""


def open_storage(url: str) -> BaseStorage:
    """The study DB at a URL as Optuna's storage, made if it does not exist.

    Args:
        url: an SQLAlchemy URL such as ``sqlite:///senas.db``.

    Raises:
        InputError: the DB can be neither opened nor made.
    """
    address = parse_url(url)
    try:
        _check_folder(address)
        # Optuna tells of its schema's creation at INFO; what a user has to know, we say.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return get_storage(_opened_or_made(address))
    except ImportError as error:
        raise InputError(f"the database of {shown(address)} needs a driver: {error}") from error
    except (sa.exc.SQLAlchemyError, RuntimeError, optuna.exceptions.OptunaError) as error:
        mend = remedy(error, address)
        raise InputError(
            f"cannot open the study DB {shown(address)}: {explained(error, address)}" + (f"; {mend}" if mend else "")
        ) from error


def writing_engine(url: str) -> sa.Engine:
    """An engine of our own to the DB at a URL, set up as that of :func:`open_storage`."""
    address = parse_url(url)
    return _set_up(sa.create_engine(address, **_engine_settings(address)))


@contextmanager
def failures_explained(url: str) -> Iterator[None]:
    """Replace the errors of a study DB within a block by one that names the innermost cause, the DB and the remedy.

    Optuna reports all failures of a DB as invalid data.

    Args:
        url: of the study DB.

    Raises:
        StorageFailedError: in the place of an error of Optuna's storage, of SQLAlchemy or of the DB's driver.
    """
    try:
        yield
    except (sa.exc.DBAPIError, optuna.exceptions.StorageInternalError) as error:
        address = parse_url(url)
        said = f"the study DB {shown(address)} has failed: {explained(error, address)}"
        if mend := remedy(error, address):
            said += f". Nothing that it holds is lost: {mend} and run the same command again to go on"
        raise StorageFailedError(said) from error


def check_of_presence(url: str) -> Callable[[], None]:
    """Return a function that raises a StorageFailedError once an SQLite file is no longer where it was opened.

    SQLite writes on to a file that was moved or deleted. There is nothing to check of a DB on a server.
    """
    address = parse_url(url)
    if not _is_file(address):
        return lambda: None
    file = Path(str(address.database)).absolute()
    opened = _identity(file)

    def check() -> None:
        if _identity(file) != opened:
            raise StorageFailedError(
                f"the study DB {file} was moved, replaced or deleted while it was in use: put it back, together with "
                f"the files {file.name}-wal and {file.name}-shm beside it, and run the same command again to go on"
            )

    return check


def patiently(
    call: Callable[..., _T],
    *arguments: Any,
    tell: Callable[[str], None] = _LOG.warning,
    give_up_after_s: float = GIVE_UP_AFTER_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> _T:
    """What a call to the DB returns, repeated while the DB's server is away or an SQLite file is locked.

    A server that goes away in the middle of a commit may or may not have done it. Only give this a call that may
    be made twice with no more effect than once: one that reads, that sets something to a value, or that looks first
    whether it has been made before.

    Args:
        tell: told once when the waiting begins, with the reason, and once when it ends well.
        give_up_after_s: how long to try before the error is raised.
        clock: seconds that only grow.
        sleep: waits for so many seconds.

    Raises:
        StorageAwayError: the DB was still away after all of that time.
    """
    began = clock()
    for attempt, pause in enumerate(_pauses()):
        try:
            result = call(*arguments)
        except Exception as error:
            if not is_away(error):
                raise
            reason, tried = first_line(innermost(error)), clock() - began
            if tried >= give_up_after_s:
                raise StorageAwayError(
                    f"the study DB has not answered for {_duration(tried)}: {reason}. Nothing that it holds is lost; "
                    "when it is back, run the same command again to go on"
                ) from error
            if attempt == 0:
                tell(f"the study DB does not answer, trying again for up to {_duration(give_up_after_s)}: {reason}")
            sleep(min(pause, give_up_after_s - tried))
        else:
            if attempt > 0:
                tell(f"the study DB answers again after {_duration(clock() - began)}: going on")
            return result
    raise AssertionError("pauses do not end")


def is_away(error: BaseException) -> bool:
    """Whether an error says that the DB cannot be reached at the moment, and not that what it was asked is wrong."""
    return any(_says_away(link) for link in _chain(error))


def _says_away(error: BaseException) -> bool:
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        # A file is not away: the one thing that passes by itself is another connection's lock. The low byte is the
        # kind of an error, the rest its details.
        return (getattr(error.orig, "sqlite_errorcode", 0) & 0xFF) in _BUSY
    return error.connection_invalidated or isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from: Optuna wraps those of the DB."""
    while error is not None:
        yield error
        error = error.__cause__


def _pauses() -> Iterator[float]:
    pause = 0.1
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _opened_or_made(address: sa.URL) -> RDBStorage:
    """Optuna looks which tables are missing and then makes them; of two that do so at once, one has to look again."""
    for attempt in range(_CREATORS):
        try:
            storage = RDBStorage(address.render_as_string(hide_password=False), engine_kwargs=_engine_settings(address))
        except sa.exc.DBAPIError as error:
            if attempt + 1 == _CREATORS or not _made_by_another(error):
                raise
            time.sleep(0.1 * (attempt + 1))
        else:
            _set_up(storage.engine)
            return storage
    raise AssertionError("the last attempt returns or raises")


def _made_by_another(error: sa.exc.DBAPIError) -> bool:
    return isinstance(error, sa.exc.IntegrityError) or "already exists" in str(error.orig)


def _engine_settings(address: sa.URL) -> dict[str, Any]:
    if address.get_backend_name() == "sqlite":
        return {} if "timeout" in address.query else {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    # A connection that the server has dropped since it was last used is replaced before it is used again.
    return {"pool_pre_ping": True}


def _is_file(address: sa.URL) -> bool:
    return address.get_backend_name() == "sqlite" and address.database not in (None, "", ":memory:")


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from another one of its name; None if it is missing."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_up(engine: sa.Engine) -> sa.Engine:
    if _is_file(engine.url):
        sa.event.listen(engine, "connect", _write_ahead)
        # Optuna connects before anyone can listen: what it has left in the pool is replaced by new connections.
        engine.dispose()
        engine.connect().close()  # now and not at the first write, so that a file that refuses is said at once
    return engine


def _write_ahead(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL").close()
    connection.execute("PRAGMA synchronous = NORMAL").close()


def _check_folder(address: sa.URL) -> None:
    if _is_file(address):
        file = Path(str(address.database))
        if not file.absolute().parent.is_dir():
            raise InputError(f"the study DB {file} cannot be made: there is no folder {file.absolute().parent}")
        if file.is_dir():
            raise InputError(f"the study DB {file} is a folder: name a file")
