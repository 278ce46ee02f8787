import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection
from other_processes import running, tell, told

from nas.storage import BUSY_TIMEOUT_S, StorageAwayError, is_away, open_storage, patiently, writing_engine
from results import open_study
from search_space.errors import InputError

DIRECTIONS = [StudyDirection.MAXIMIZE]

_BEGIN = """
import os, sys
from nas.storage import open_storage
from optuna.study import StudyDirection
storage = open_storage(sys.argv[1])
study = storage.create_new_study([StudyDirection.MAXIMIZE], "a study")
storage.set_study_system_attr(study, "study:metric_names", ["accuracy"])
"""

WRITES_HALF = (
    _BEGIN
    + """
storage.create_new_trial(study)
connection = storage._backend.engine.raw_connection()
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM trials")
print("half", flush=True)
sys.stdin.read()
"""
)

WRITES_ON = (
    _BEGIN
    + """
while True:
    storage.create_new_trial(study)
    print("written", flush=True)
"""
)

OPENS_WHEN_TOLD = """
import sys
from nas.storage import open_storage
print("ready", flush=True)
for url in sys.stdin:
    open_storage(url.strip())
    print("opened", flush=True)
"""


def engine_of(storage: optuna.storages.BaseStorage) -> sa.Engine:
    return storage._backend.engine


def begun(url: str) -> tuple[optuna.storages.BaseStorage, int]:
    storage = open_storage(url)
    return storage, storage.create_new_study(DIRECTIONS, "a study")


def pragma(connection: sa.Connection, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "senas.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.mark.parametrize("before", [None, "delete"])
def test_an_sqlite_file_is_in_wal_mode_and_stays_so(url: str, file: Path, before: str | None) -> None:
    if before is not None:
        optuna.storages.RDBStorage(url).engine.dispose()
        assert sqlite3.connect(file).execute("PRAGMA journal_mode").fetchone() == (before,)
    storage, _ = begun(url)
    engine_of(storage).dispose()
    assert sqlite3.connect(file).execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("opened", [lambda url: engine_of(open_storage(url)), writing_engine])
def test_every_connection_waits_and_syncs_as_promised(url: str, opened) -> None:
    engine = opened(url)
    with engine.connect() as one, engine.connect() as two, engine.connect() as three:
        for connection in (one, two, three):
            assert pragma(connection, "journal_mode") == "wal"
            assert pragma(connection, "synchronous") == 1
            assert pragma(connection, "busy_timeout") == BUSY_TIMEOUT_S * 1000


def test_a_timeout_in_the_url_is_the_users_choice(url: str) -> None:
    with engine_of(open_storage(f"{url}?timeout=7")).connect() as connection:
        assert pragma(connection, "busy_timeout") == 7000


def test_a_db_in_memory_keeps_its_tables() -> None:
    storage, study = begun("sqlite://")
    storage.create_new_trial(study)
    assert len(storage.get_all_trials(study)) == 1


@pytest.mark.slow
def test_a_write_waits_for_another_ones_transaction(url: str, file: Path) -> None:
    """Longer than the 5 seconds that Python's sqlite3 waits of itself."""
    storage, study = begun(url)
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(6.5, other.execute, ["COMMIT"])
    ends.start()
    began = time.monotonic()
    storage.set_study_user_attr(study, "key", "value")
    assert time.monotonic() - began > 6
    ends.join()
    assert storage.get_study_user_attrs(study) == {"key": "value"}


def test_reading_while_a_process_writes_and_after_it_was_killed(url: str, file: Path) -> None:
    with running(WRITES_HALF, url) as writer:
        assert told(writer) == "half"
        assert len(open_study(url, "a study").trials()) == 1
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    log = file.with_name("senas.db-wal")
    assert log.stat().st_size
    assert len(open_study(url, "a study").trials()) == 1


def test_a_killed_writer_loses_nothing(url: str) -> None:
    with running(WRITES_ON, url) as writer:
        written = [told(writer) for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
    assert set(written) == {"written"}
    promised = len(written) + rest.count("written\n")
    storage = open_storage(url)
    found = len(storage.get_all_trials(storage.get_study_id_from_name("a study")))
    assert promised <= found <= promised + 1


@contextmanager
def as_somebody_else(folder: Path) -> Iterator[None]:
    """As a user who may read a folder and not write to it."""
    folder.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        folder.chmod(0o755)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("ended", ["in order", "killed", "copied"])
def test_reading_in_a_folder_that_is_not_writable(url: str, file: Path, open_folder: Path, ended: str) -> None:
    copy = open_folder / "senas.db"
    there = f"sqlite:///{copy}"
    if ended == "in order":
        storage, study = begun(there)
        storage.set_study_system_attr(study, "study:metric_names", ["accuracy"])
        storage.create_new_trial(study)
        engine_of(storage).dispose()
        assert [found.name for found in open_folder.iterdir()] == ["senas.db"]
    else:
        with running(WRITES_HALF, url) as writer:
            assert told(writer) == "half"
        for left in file.parent.glob("senas.db*"):
            shutil.copy(left, open_folder)
        if ended == "copied":  # the index of the log, which is nothing but memory, did not come along
            (open_folder / "senas.db-shm").unlink()
    before = sorted(found.name for found in open_folder.iterdir())
    with as_somebody_else(open_folder):
        if ended == "copied":
            with pytest.raises(InputError, match=r"its last changes are still in senas\.db-wal"):
                open_study(there, "a study")
        else:
            assert len(open_study(there, "a study").trials()) == 1
    assert sorted(found.name for found in open_folder.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_who_make_a_db_at_once_both_open_it(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with running(OPENS_WHEN_TOLD) as one, running(OPENS_WHEN_TOLD) as two:
        assert told(one) == told(two) == "ready"
        for number in range(8):
            if kind == "sqlite":
                url = f"sqlite:///{tmp_path / f'{number}.db'}"
            else:
                url = request.getfixturevalue("postgresql").new_database()
            for process in (one, two):
                tell(process, url)
            assert told(one) == told(two) == "opened"


def test_the_folder_of_a_file_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"cannot be made: there is no folder {tmp_path / 'missing'}"):
        open_storage(f"sqlite:///{tmp_path / 'missing' / 'senas.db'}")
    with pytest.raises(InputError, match="is a folder: name a file"):
        open_storage(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_db(file: Path, url: str) -> None:
    file.write_text("not a database, but long enough to be mistaken for the header of one" * 20)
    with pytest.raises(InputError, match=r"cannot open the study DB sqlite:.*file is not a database"):
        open_storage(url)


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"cannot open the study DB postgresql\+psycopg://me:\*\*\*@127.0.0.1:9/x"):
        open_storage("postgresql+psycopg://me:secret@127.0.0.1:9/x")
    assert time.monotonic() - began < 30


def test_a_restart_between_two_calls_goes_unnoticed(postgresql) -> None:
    storage, study = begun(postgresql.new_database())
    storage.set_study_user_attr(study, "key", 1)
    postgresql.restart()
    storage.set_study_user_attr(study, "key", 2)
    postgresql.restart("immediate")
    assert storage.get_study_user_attrs(study) == {"key": 2}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_series_of_writes_survives_a_restart(postgresql, mode: str) -> None:
    storage, study = begun(postgresql.new_database())
    said: list[str] = []
    written: list[int] = []
    enough = threading.Event()

    def write() -> None:
        while not enough.is_set():
            patiently(storage.set_study_user_attr, study, f"key {len(written)}", len(written), tell=said.append)
            written.append(len(written))

    series = threading.Thread(target=write)
    series.start()
    wait_until(lambda: len(written) > 50)
    postgresql.stop(mode)
    time.sleep(1)
    before = len(written)
    postgresql.start()
    wait_until(lambda: len(written) > before + 50)
    enough.set()
    series.join(timeout=30)
    assert storage.get_study_user_attrs(study) == {f"key {number}": number for number in written}
    assert [line.split(",")[0].split(" after ")[0] for line in said] == [
        "the study DB does not answer",
        "the study DB answers again",
    ]


def wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_patience_with_a_server_ends(postgresql) -> None:
    storage, study = begun(postgresql.new_database())
    postgresql.stop()
    try:
        with pytest.raises(StorageAwayError, match=r"has not answered for 2 seconds: .*onnection"):
            patiently(storage.get_study_user_attrs, study, tell=lambda _: None, give_up_after_s=2)
    finally:
        postgresql.start()


def test_a_lock_on_a_file_is_waited_for(url: str, file: Path) -> None:
    storage, study = begun(f"{url}?timeout=0.1")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    said: list[str] = []

    def heard(line: str) -> None:
        said.append(line)
        if len(said) == 1:
            other.execute("COMMIT")

    patiently(storage.set_study_user_attr, study, "key", 1, tell=heard)
    assert storage.get_study_user_attrs(study) == {"key": 1}
    assert said[0] == "the study DB does not answer, trying again for up to 10 minutes: database is locked"
    assert len(said) == 2


class Away:
    """A call that fails, and time that passes only as one sleeps."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left = times
        self.error = error or sa.exc.OperationalError("SELECT", {}, Exception("gone\nand more"))
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self, *arguments: object) -> tuple[object, ...]:
        if self.left:
            self.left -= 1
            raise self.error
        return arguments

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def test_pauses_grow_up_to_a_bound_and_so_does_the_whole() -> None:
    away, said = Away(times=10**9), []
    with pytest.raises(StorageAwayError, match=r"has not answered for 10 minutes: gone\. Nothing .* is lost") as caught:
        patiently(away, tell=said.append, clock=away.clock, sleep=away.sleep)
    assert away.pauses[:7] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert max(away.pauses) == 5.0
    assert sum(away.pauses) == pytest.approx(600)
    assert said == ["the study DB does not answer, trying again for up to 10 minutes: gone"]
    assert caught.value.__cause__ is away.error


def test_what_is_told_of_a_wait_that_ends_well() -> None:
    away, said = Away(times=9), []
    assert patiently(away, 1, 2, tell=said.append, clock=away.clock, sleep=away.sleep) == (1, 2)
    assert said[1:] == ["the study DB answers again after 21 seconds: going on"]
    quiet = Away(times=0)
    assert patiently(quiet, tell=pytest.fail, clock=quiet.clock, sleep=quiet.sleep) == ()


def failing(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def locked() -> sqlite3.Error:
    with tempfile.TemporaryDirectory() as folder:
        one, two = (sqlite3.connect(Path(folder) / "x.db", timeout=0, isolation_level=None) for _ in range(2))
        one.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            two.execute("BEGIN EXCLUSIVE")
        one.close()
        two.close()
    return caught.value


OPERATIONAL = sa.exc.OperationalError("SELECT", {}, Exception("server closed the connection"))


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (OPERATIONAL, True),
        (sa.exc.InterfaceError("SELECT", {}, Exception("the connection is closed")), True),
        (sa.exc.DBAPIError("SELECT", {}, Exception("gone"), connection_invalidated=True), True),
        (failing(optuna.exceptions.StorageInternalError("wrapped"), OPERATIONAL), True),
        (sa.exc.OperationalError("SELECT", {}, locked()), True),
        (sa.exc.OperationalError("SELECT", {}, sqlite3.OperationalError("no such table: trials")), False),
        (sa.exc.InterfaceError("SELECT", {}, sqlite3.InterfaceError("bad parameter")), False),
        (sa.exc.DBAPIError("SELECT", {}, Exception("wrong")), False),
        (sa.exc.IntegrityError("INSERT", {}, Exception("not unique")), False),
        (sa.exc.ProgrammingError("SELECT", {}, Exception("no such table")), False),
        (optuna.exceptions.StorageInternalError("of another cause"), False),
        (KeyError("no such study"), False),
        (ConnectionError("of something else"), False),
    ],
)
def test_which_errors_are_waited_out(error: Exception, away: bool) -> None:
    assert is_away(error) == away
    call = Away(times=1, error=error)
    if away:
        assert patiently(call, tell=lambda _: None, clock=call.clock, sleep=call.sleep) == ()
    else:
        with pytest.raises(type(error)) as caught:
            patiently(call, tell=pytest.fail, clock=call.clock, sleep=call.sleep)
        assert caught.value is error
        assert call.pauses == []
