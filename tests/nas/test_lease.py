import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from other_processes import running, tell, told

from nas.lease import _LEASES, Lease, LeaseLostError, StudyInUseError, _make_table, _this_process
from nas.storage import open_storage, writing_engine
from search_space.errors import InputError

DRIVES = """
import sys, time
from nas.lease import Lease, LeaseLostError
with Lease.take(sys.argv[1], "a study", interval_s=0.3, patience_s=1.5) as lease:
    print("held", flush=True)
    try:
        while True:
            lease.check()
            print("writes", flush=True)
            time.sleep(0.05)
    except LeaseLostError as error:
        print(error, flush=True)
"""

CONTENDS = """
import sys
from nas.lease import Lease, StudyInUseError
print("ready", flush=True)
for line in sys.stdin:
    url, study = line.split()
    try:
        lease = Lease.take(url, study, interval_s=0.2, patience_s=3, tell=lambda line: None)
    except StudyInUseError as error:
        print("refused", flush=True)
    else:
        print("held", flush=True)
        sys.stdin.readline()
        lease.release()
"""

INTERVAL = 0.3


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'senas.db'}"
    return request.getfixturevalue("postgresql").new_database()


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'senas.db'}"


def take(url: str, patience_s: float = 1.5, said: list[str] | None = None) -> Lease:
    return Lease.take(
        url, "a study", interval_s=INTERVAL, patience_s=patience_s, tell=(said if said is not None else []).append
    )


def rows(url: str) -> list[sa.Row]:
    with writing_engine(url).connect() as connection:
        return list(connection.execute(sa.select(_LEASES)))


def leave(url: str, **differing: object) -> sa.Engine:
    """A row as a holder leaves it that gives no further sign of life."""
    engine = writing_engine(url)
    _make_table(engine)
    with engine.begin() as connection:
        row = vars(_this_process()) | {"study": "a study", "holder": "somebody", "beat": 7} | differing
        connection.execute(_LEASES.insert().values(row))
    return engine


def beat(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(_LEASES.update().values(beat=_LEASES.c.beat + 1))


def ended_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_taking_and_releasing(url: str) -> None:
    said: list[str] = []
    with take(url, said=said) as lease:
        lease.check()
        assert [(row.study, row.pid) for row in rows(url)] == [("a study", os.getpid())]
    assert rows(url) == []
    lease.release()
    with take(url, said=said):
        pass
    assert said == []


def test_the_lease_is_beside_optunas_tables(url: str) -> None:
    storage = open_storage(url)
    with Lease.take(storage._backend.engine, "a study", interval_s=INTERVAL) as lease:
        assert storage.get_all_studies() == []
        lease.check()
    assert rows(url) == []


def test_studies_are_held_one_by_one(url: str) -> None:
    with take(url), Lease.take(url, "another study"):
        assert [row.study for row in rows(url)] == ["a study", "another study"]


def test_the_same_process_is_refused_too(url: str) -> None:
    with take(url) as lease:
        with pytest.raises(StudyInUseError, match=f"'a study' is in use: process {os.getpid()} on "):
            take(url)
        lease.check()


def test_a_live_holder_is_refused_without_patience(url: str) -> None:
    with running(DRIVES, url) as holder:
        assert told(holder) == "held"
        began = time.monotonic()
        with pytest.raises(InputError, match=f"process {holder.pid} on .* stop it there .kill -INT {holder.pid}."):
            take(url, patience_s=60)
        assert time.monotonic() - began < 30
        assert told(holder) == "writes"


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_holder_is_replaced_at_once(url: str, reaped: bool) -> None:
    said: list[str] = []
    with running(DRIVES, url) as holder:
        assert told(holder) == "held"
        holder.send_signal(signal.SIGKILL)
        if reaped:
            holder.wait()
        else:
            os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        began = time.monotonic()
        with take(url, patience_s=60, said=said):
            assert time.monotonic() - began < 30
    assert said == [
        f"process {holder.pid} on {os.uname().nodename}, which had study 'a study', has ended: taking it over"
    ]


def test_the_id_of_a_killed_holder_may_be_given_to_another_process(file_url: str) -> None:
    leave(file_url, pid_started="1")
    began = time.monotonic()
    with take(file_url, patience_s=60):
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("differing", [{"machine": "another"}, {"machine": ""}, {"host": "elsewhere"}, {}], ids=str)
def test_a_holder_that_may_live_is_replaced_after_patience(file_url: str, differing: dict[str, str]) -> None:
    """Even where the id of its process is that of none here: another machine's ids say nothing."""
    said: list[str] = []
    leave(file_url, **({"pid": ended_pid()} if differing else {}), **differing)
    began = time.monotonic()
    with take(file_url, patience_s=1, said=said):
        assert time.monotonic() - began >= 1
    assert len(said) == 2
    assert "watching for up to 1 seconds whether it is alive" in said[0]
    assert "has given no sign of life for 1 seconds: taking it over" in said[1]


def test_a_moving_beat_from_another_machine_is_refused(url: str) -> None:
    engine = leave(url, machine="another", host="elsewhere", pid=17)
    sign = threading.Timer(0.5, beat, [engine])
    sign.start()
    with pytest.raises(StudyInUseError, match="process 17 on elsewhere"):
        take(url, patience_s=60)
    sign.join()
    assert [row.holder for row in rows(url)] == ["somebody"]


def test_a_sign_of_life_at_the_last_moment_counts(url: str) -> None:
    engine = leave(url, machine="another")

    def late(line: str) -> None:
        if "taking it over" in line:
            beat(engine)

    with pytest.raises(StudyInUseError):
        Lease.take(url, "a study", interval_s=INTERVAL, patience_s=0.5, tell=late)
    assert [row.holder for row in rows(url)] == ["somebody"]


def test_another_challenger_may_be_faster(url: str) -> None:
    leave(url, machine="another")
    faster: list[Lease] = []

    def slow(line: str) -> None:
        if "taking it over" in line and not faster:
            faster.append(take(url, patience_s=0.5))

    with pytest.raises(StudyInUseError, match=f"process {os.getpid()}"):
        Lease.take(url, "a study", interval_s=INTERVAL, patience_s=0.5, tell=slow)
    faster[0].check()
    faster[0].release()


def test_a_holder_that_releases_meanwhile_leaves_it_to_the_challenger(url: str) -> None:
    engine = leave(url, machine="another")

    def release() -> None:
        with engine.begin() as connection:
            connection.execute(_LEASES.delete())

    released = threading.Timer(0.5, release)
    released.start()
    with take(url, patience_s=60) as lease:
        released.join()
        lease.check()


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "an ended holder"])
def test_of_two_processes_exactly_one_gets_the_study(url: str, tmp_path: Path, left: str) -> None:
    with running(CONTENDS) as one, running(CONTENDS) as two:
        assert told(one) == told(two) == "ready"
        for number in range(20):
            if left != "nothing":
                leave(url, study=f"study-{number}", pid=ended_pid(), holder=f"ended {number}")
            for process in (one, two):
                tell(process, f"{url} study-{number}")
            answers = [told(one), told(two)]
            assert sorted(answers) == ["held", "refused"], number
            tell((one, two)[answers.index("held")], "release")


@pytest.mark.slow
def test_two_may_make_the_table_at_once(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with running(CONTENDS) as one, running(CONTENDS) as two:
        assert told(one) == told(two) == "ready"
        for number in range(12):
            if number % 2:
                url = request.getfixturevalue("postgresql").new_database()
            else:
                url = f"sqlite:///{tmp_path / f'{number}.db'}"
            for process in (one, two):
                tell(process, f"{url} study")
            answers = [told(one), told(two)]
            assert sorted(answers) == ["held", "refused"], number
            tell((one, two)[answers.index("held")], "release")


@pytest.mark.slow
def test_a_suspended_holder_notices_before_it_writes(url: str) -> None:
    with running(DRIVES, url) as holder:
        assert told(holder) == "held"
        holder.send_signal(signal.SIGSTOP)
        with take(url, patience_s=1.5) as lease:
            holder.send_signal(signal.SIGCONT)
            lines = list(iter(lambda: told(holder), ""))
            assert f"'a study' was taken over by process {os.getpid()} on " in lines[-1]
            assert holder.wait() == 0
            lease.check()
            time.sleep(2 * INTERVAL)
            assert [row.pid for row in rows(url)] == [os.getpid()]


def test_a_holder_that_stood_still_asks_before_it_goes_on(url: str) -> None:
    """Its thread has yet to wake up: so it is for as long as it sleeps here."""
    lease = Lease.take(url, "a study", interval_s=0.5, patience_s=1.5)
    renew, lease._renew = lease._renew, lambda: True
    time.sleep(0.6)
    with writing_engine(url).begin() as connection:
        connection.execute(_LEASES.update().values(holder="somebody else"))
    lease.check()
    time.sleep(0.6)
    lease._renew = renew
    with pytest.raises(LeaseLostError, match="was taken over by process"):
        lease.check()
    lease.release()
    assert [row.holder for row in rows(url)] == ["somebody else"]


def test_a_lost_lease_is_told_of_by_the_thread(url: str) -> None:
    with take(url) as lease:
        with writing_engine(url).begin() as connection:
            connection.execute(_LEASES.delete())
        assert lease._lost.wait(timeout=5)
        with pytest.raises(LeaseLostError, match="was taken over, because"):
            lease.check()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_lease_outlives_a_restart(postgresql, mode: str) -> None:
    url = postgresql.new_database()
    with take(url) as lease:
        postgresql.stop(mode)
        time.sleep(1)
        lease.check()
        postgresql.start()
        with pytest.raises(StudyInUseError):
            take(url, patience_s=5)
        lease.check()
    assert rows(url) == []


@pytest.mark.slow
def test_releasing_while_the_server_is_away_raises_nothing(postgresql) -> None:
    url = postgresql.new_database()
    lease = take(url)
    postgresql.stop()
    lease.release()
    postgresql.start()
    assert len(rows(url)) == 1


@pytest.mark.slow
def test_a_holder_is_not_taken_for_dead_because_the_server_was(postgresql) -> None:
    url = postgresql.new_database()
    engine = leave(url, machine="another")
    said: list[str] = []
    refused: list[StudyInUseError] = []

    def challenge() -> None:
        try:
            take(url, patience_s=3, said=said)
        except StudyInUseError as error:
            refused.append(error)

    challenger = threading.Thread(target=challenge)
    challenger.start()
    time.sleep(0.5)
    postgresql.stop()
    time.sleep(4)
    postgresql.start()
    deadline = time.monotonic() + 20
    while "answers again" not in said[-1] and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    beat(engine)
    challenger.join(timeout=20)
    assert len(refused) == 1, said
    assert [row.holder for row in rows(url)] == ["somebody"]


def test_a_db_that_refuses_the_table(tmp_path: Path, postgresql) -> None:
    url = postgresql.new_database()
    with writing_engine(url).begin() as connection:
        connection.exec_driver_sql("CREATE ROLE lodger LOGIN")
    with pytest.raises(InputError, match=r"cannot make the table senas_leases in the study DB postgresql.*permission"):
        take(url.replace("//postgres@", "//lodger@"))
