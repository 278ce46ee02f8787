"""A lease on a study: one driver at a time writes it, and a second one is told so.

Whoever holds the lease raises the ``beat`` of its row from a thread. A challenger compares no clocks, which differ
from machine to machine: it watches whether the beat moves. Each taking is one statement that only succeeds if the
row is still what the challenger saw, so of several one gets it.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa

from nas.storage import is_away, patiently, writing_engine
from results.database import explained, shown
from search_space.errors import InputError

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.25
_RETRY_S = 1.0

_LEASES = sa.Table(
    "senas_leases",
    sa.MetaData(),
    sa.Column("study", sa.String(512), primary_key=True),
    sa.Column("holder", sa.String(36), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("pid_started", sa.String(32), nullable=False),
    sa.Column("machine", sa.String(255), nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
)


class StudyInUseError(InputError):
    """Another driver holds the study."""


class LeaseLostError(RuntimeError):
    """Another driver has taken the study over, so this one must not write to it any more."""


@dataclass(frozen=True)
class _Holder:
    """A row of the table: who holds a study, and how often they have said so."""

    holder: str
    host: str
    pid: int
    pid_started: str
    machine: str
    beat: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lease:
    """The right to write a study, held until it is released or the process ends.

    Use it as a context manager. A thread keeps it up, through restarts of the DB's server as well.
    """

    def __init__(self, engine: sa.Engine, study: str, me: _Holder, *, interval_s: float, owns_engine: bool) -> None:
        self._engine = engine
        self._owns_engine = owns_engine
        self._study = study
        self._me = me
        self._interval_s = interval_s
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._renewed_at = _now()
        self._thread = threading.Thread(target=self._keep_up, name="senas-lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(
        cls,
        engine_or_url: sa.Engine | str,
        study: str,
        *,
        interval_s: float = 5.0,
        patience_s: float = 20.0,
        tell: Callable[[str], None] = _LOG.warning,
    ) -> "Lease":
        """Takes the lease on a study, at once if it is free or if its holder was a process of this machine and ended.

        Otherwise it watches the holder: any sign of life refuses; without one the study is taken over after
        ``patience_s``.

        Args:
            engine_or_url: of the study DB. Open the storage first, which says what is wrong with a URL.
            study: the study's name, which need not exist yet.
            interval_s: how often the holder gives a sign of life.
            patience_s: how long a holder may give none; several intervals.
            tell: told of what takes time and of a taking over.

        Raises:
            StudyInUseError: another driver holds the study and is alive.
            InputError: the DB refuses the table of leases.
            StorageAwayError: the DB's server was away for too long.
        """
        owns_engine = isinstance(engine_or_url, str)
        engine = writing_engine(engine_or_url) if isinstance(engine_or_url, str) else engine_or_url
        me = _this_process()
        try:
            patiently(_make_table, engine, tell=tell)
            _Challenger(engine, study, me, interval_s, patience_s, tell).take()
        except BaseException:
            if owns_engine:
                engine.dispose()
            raise
        return cls(engine, study, me, interval_s=interval_s, owns_engine=owns_engine)

    def check(self) -> None:
        """Returns while the lease is ours. It costs nothing unless this process has stood still.

        Raises:
            LeaseLostError: another driver has taken the study over.
        """
        if _now() - self._renewed_at > 2 * self._interval_s:
            # This process, its machine or the DB stood still, and the study may have been taken over meanwhile: the
            # thread finds out, but only after whoever asks here has written something.
            self._renew()
        if self._lost.is_set():
            raise LeaseLostError(
                f"study '{self._study}' was taken over{self._by_whom()}, because this driver gave no sign of life for "
                "too long: nothing more is written here"
            )

    def release(self) -> None:
        """Gives the study up, if it is still ours; does nothing the second time."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join(timeout=self._interval_s)
        # A row that is left because the DB is away is no harm: the next driver sees that this process has ended.
        with suppress(sa.exc.SQLAlchemyError), self._engine.begin() as connection:
            connection.execute(_LEASES.delete().where(*_held(self._study, self._me)))
        if self._owns_engine:
            self._engine.dispose()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _keep_up(self) -> None:
        pause = self._interval_s
        while not self._stop.wait(pause) and not self._lost.is_set():
            pause = self._interval_s if self._renew() else min(self._interval_s, _RETRY_S)

    def _renew(self) -> bool:
        """Gives a sign of life; false if the DB could not be asked."""
        asked_at = _now()
        mine = _LEASES.update().where(*_held(self._study, self._me)).values(beat=_LEASES.c.beat + 1)
        try:
            with self._engine.begin() as connection:
                found = connection.execute(mine).rowcount
        except sa.exc.SQLAlchemyError:
            # Away, or without its table: in neither case has anyone been seen to take over.
            return False
        if found == 0 and not self._stop.is_set():
            self._lost.set()
        self._renewed_at = asked_at
        return True

    def _by_whom(self) -> str:
        with suppress(sa.exc.SQLAlchemyError):
            holder = _holder(self._engine, self._study)
            return f" by {holder}" if holder else ""
        return ""


class _Challenger:
    """Whoever wants a study."""

    def __init__(
        self,
        engine: sa.Engine,
        study: str,
        me: _Holder,
        interval_s: float,
        patience_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._study = study
        self._me = me
        self._interval_s = interval_s
        self._patience_s = patience_s
        self._tell = tell

    def take(self) -> None:
        first: _Holder | None = None
        since = looked = _now()
        while True:
            seen = patiently(_holder, self._engine, self._study, tell=self._tell)
            now = _now()
            if now - looked > self._interval_s:
                since = now  # the DB was away, or this process was stopped: nobody could have been seen alive
            looked = now
            if seen is None:
                patiently(self._insert, tell=self._tell)
                continue
            if seen.holder == self._me.holder:
                return
            if first is None:
                first, since = seen, now
            elif seen != first:
                raise self._refusal(seen)
            if _has_ended(seen):
                self._take_over(seen, "has ended")
            elif now - since >= self._patience_s:
                self._take_over(seen, f"has given no sign of life for {self._patience_s:.0f} seconds")
            else:
                if first is seen:
                    self._tell(
                        f"study '{self._study}' was left to {seen}: watching for up to {self._patience_s:.0f} seconds "
                        "whether it is alive"
                    )
                time.sleep(min(_LOOK_S, self._interval_s / 2))

    def _insert(self) -> None:
        with suppress(sa.exc.IntegrityError), self._engine.begin() as connection:
            connection.execute(_LEASES.insert().values(study=self._study, **vars(self._me)))

    def _take_over(self, seen: _Holder, why: str) -> None:
        self._tell(f"{seen}, which had study '{self._study}', {why}: taking it over")
        patiently(self._replace, seen, tell=self._tell)

    def _replace(self, seen: _Holder) -> None:
        """Only what was seen is replaced: a holder that has given a sign of life since keeps the study."""
        as_seen = (*_held(self._study, seen), _LEASES.c.beat == seen.beat)
        with self._engine.begin() as connection:
            connection.execute(_LEASES.update().where(*as_seen).values(**vars(self._me)))

    def _refusal(self, seen: _Holder) -> StudyInUseError:
        return StudyInUseError(
            f"study '{self._study}' is in use: {seen} is writing it. Wait until that ends or stop it there "
            f"(kill -INT {seen.pid}), or begin another study with --study"
        )


def _make_table(engine: sa.Engine) -> None:
    try:
        _LEASES.create(engine, checkfirst=True)
    except sa.exc.DBAPIError as error:
        if is_away(error):
            raise
        # Somebody else may have made it between our looking and our making.
        if not sa.inspect(engine).has_table(_LEASES.name):
            where, reason = shown(engine.url), explained(error, engine.url)
            raise InputError(f"cannot make the table {_LEASES.name} in the study DB {where}: {reason}") from error


def _holder(engine: sa.Engine, study: str) -> _Holder | None:
    query = sa.select(*(_LEASES.c[name] for name in _Holder.__dataclass_fields__)).where(_LEASES.c.study == study)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _Holder(*row)


def _now() -> float:
    """Seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _held(study: str, by: _Holder) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return _LEASES.c.study == study, _LEASES.c.holder == by.holder


def _this_process() -> _Holder:
    pid = os.getpid()
    _, started = _state_and_start(pid)
    return _Holder(str(uuid.uuid4()), socket.gethostname(), pid, started, _this_machine(), beat=0)


def _this_machine() -> str:
    """What two processes have in common that see each other's ids; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - a name, and no path
    except OSError:
        return ""


def _has_ended(holder: _Holder) -> bool:
    """Whether a holder is known to have ended; one on another machine never is."""
    if not holder.machine or (holder.host, holder.machine) != (socket.gethostname(), _this_machine()):
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives, as another user
    state, started = _state_and_start(holder.pid)
    # An id is given to a new process some day: then it is one that started at another time.
    return state in {"Z", "X"} or (bool(started) and started != holder.pid_started)


def _state_and_start(pid: int) -> tuple[str, str]:
    """The state of a process and when it started, in ticks since the machine did; empty where it cannot be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", ""
    # The second field is the program's name in brackets, with whatever is in it.
    fields = stat.rpartition(")")[2].split()
    return fields[0], fields[19]
