"""A study DB whose disk is full, or whose file goes away: what is told, and that nothing is lost."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from disks import fill, needs_mounting, resize, small_disk
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from senas_command import Senas

import results
from nas.storage import StorageFailedError, check_of_presence, failures_explained, open_storage, writing_engine
from nas.trial_rows import create_by_rows
from results.copying import copy_study
from search_space.errors import InputError

pytestmark = needs_mounting

FULL = r"(database or disk is full|disk I/O error) \(0\.0 MB free in {0}\)"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "4m") as folder:
        yield folder


def url_on(disk: Path) -> str:
    return f"sqlite:///{disk / 'senas.db'}"


def begun(url: str) -> tuple[BaseStorage, int]:
    """A study with some trials in it."""
    storage = open_storage(url)
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "a study")
    storage.set_study_system_attr(study, "study:metric_names", ["accuracy"])
    for _ in range(3):
        storage.create_new_trial(study)
    return storage, study


def closed(storage: BaseStorage) -> None:
    storage._backend.engine.dispose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kilobytes", [4, 40, 100])
def test_a_db_that_cannot_be_made_can_be_made_when_there_is_space(tmp_path: Path, kilobytes: int) -> None:
    with small_disk(tmp_path / "small", f"{kilobytes}k") as disk:
        expected = FULL.format(disk) + f"; free some space in {disk}"
        with pytest.raises(InputError, match=r"^cannot open the study DB sqlite:///.*: " + expected + "$"):
            open_storage(url_on(disk))
        resize(disk, "4m")
        storage, study = begun(url_on(disk))
        assert storage.get_n_trials(study) == 3
        closed(storage)


LONG = "long" * 1000


def start_a_trial(url: str, storage: BaseStorage, study: int, number: int) -> None:
    engine = writing_engine(url)
    try:
        create_by_rows(engine)(study, create_trial(state=TrialState.RUNNING, user_attrs={"architecture": LONG}))
    finally:
        engine.dispose()


def end_a_trial(url: str, storage: BaseStorage, study: int, number: int) -> None:
    storage.set_trial_user_attr(storage.get_all_trials(study)[0]._trial_id, f"ending {number}", LONG)


def write_an_attribute(url: str, storage: BaseStorage, study: int, number: int) -> None:
    storage.set_study_user_attr(study, f"key {number}", LONG)


def written(storage: BaseStorage, study: int) -> int:
    """How many of the texts the DB holds."""
    trials = storage.get_all_trials(study)
    attributes = [storage.get_study_user_attrs(study), *(trial.user_attrs for trial in trials)]
    return sum(value == LONG for found in attributes for value in found.values())


@pytest.mark.parametrize("write", [start_a_trial, end_a_trial, write_an_attribute])
def test_a_write_to_a_full_disk_says_so_and_loses_nothing(disk: Path, write: Callable[..., None]) -> None:
    url = url_on(disk)
    storage, study = begun(url)
    filler = fill(disk)
    done = 0
    told = FULL.format(disk) + rf"\. Nothing that it holds is lost: free some space in {disk} and run the same command"
    with pytest.raises(StorageFailedError, match=rf"^the study DB {url} has failed: {told}"), failures_explained(url):
        while done < 2000:
            write(url, storage, study, done)
            done += 1
    closed(storage)
    storage = open_storage(url)
    assert written(storage, study) == done
    filler.unlink()
    write(url, storage, study, done)
    assert written(storage, study) == done + 1
    closed(storage)


def test_a_copy_to_a_full_disk_says_so_and_leaves_nothing(disk: Path) -> None:
    url = url_on(disk)
    storage, study = begun(url)
    for number in range(100):
        write_an_attribute(url, storage, study, number)
    filler = fill(disk)
    target = writing_engine(url)
    with pytest.raises(InputError, match="^cannot write to sqlite:///.*: " + FULL.format(disk) + "$"):
        for number in range(100):
            copy_study(url, "a study", target, f"copy {number}")
    made = [study.study_name for study in storage.get_all_studies()]
    assert made == ["a study", *(f"copy {place}" for place in range(len(made) - 1))]
    filler.unlink()
    copy_study(url, "a study", target, "whole")
    assert len(results.open_study(url, "whole").user_attrs) == 100
    target.dispose()
    closed(storage)


def test_commands_on_a_full_disk_read_and_say_why_they_cannot_write(senas: Senas) -> None:
    disk = senas.folder / "disk"
    with small_disk(disk, "4m"):
        url = url_on(disk)
        storage, study = begun(url)
        for number in range(20):
            write_an_attribute(url, storage, study, number)
        closed(storage)
        filler = fill(disk)
        (found,) = results.studies(url)
        assert sum(found.trials.values()) == 3
        told = senas.run("delete", "a study", "--yes", "--storage", url, code=1).stderr
        assert re.search(FULL.format(disk), told)
        filler.unlink()
        senas.run("delete", "a study", "--yes", "--storage", url)
        assert results.studies(url) == []


@pytest.mark.parametrize("gone", [os.remove, lambda file: shutil.move(file, file.with_name("other.db"))])
def test_a_file_that_goes_away_is_noticed(tmp_path: Path, gone: Callable[[Path], object]) -> None:
    file = tmp_path / "senas.db"
    storage, _ = begun(f"sqlite:///{file}")
    check = check_of_presence(f"sqlite:///{file}")
    check()
    gone(file)
    with pytest.raises(StorageFailedError, match=rf"^the study DB {file} was moved, replaced or deleted while"):
        check()
    closed(storage)


def test_there_is_no_file_to_go_away_of_a_db_in_memory_or_on_a_server() -> None:
    for url in ("sqlite://", "postgresql+psycopg://localhost/x"):
        check_of_presence(url)()


def test_an_error_of_the_db_of_another_cause_is_told_by_its_cause(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'senas.db'}"
    storage, study = begun(url)
    with writing_engine(url).begin() as connection:
        connection.exec_driver_sql("DROP TABLE study_user_attributes")
    told = rf"^the study DB {url} has failed: no such table: study_user_attributes$"
    with pytest.raises(StorageFailedError, match=told) as caught, failures_explained(url):
        storage.set_study_user_attr(study, "key", 1)
    assert isinstance(caught.value.__cause__, optuna.exceptions.StorageInternalError)
    closed(storage)


def test_a_server_that_only_reads_is_told_with_what_to_do(postgresql) -> None:
    url = postgresql.new_database()
    storage, _ = begun(url)
    closed(storage)
    engine = writing_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {engine.url.database} SET default_transaction_read_only = on")
    engine.dispose()
    storage = open_storage(url)
    told = (
        r"read-only transaction\. Nothing that it holds is lost: wait until the server accepts writes and run the same"
    )
    with pytest.raises(StorageFailedError, match=told), failures_explained(url):
        storage.set_study_user_attr(1, "key", 1)
    closed(storage)


@pytest.mark.slow
def test_a_search_whose_db_runs_out_of_space_goes_on_when_there_is_some(senas: Senas) -> None:
    disk = senas.folder / "disk"
    with small_disk(disk, "4m"):
        senas.storage = url_on(disk)
        words = ("search", "tiny.yaml", "--storage", senas.storage, "--set", "search.asha=null", "--trials", "6")
        process = senas.start(*words)
        senas.wait_until(lambda trials: any(trial.epochs for trial in trials))
        filler = fill(disk)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 1, told
        assert re.search(FULL.format(disk) + r"\. Nothing that it holds is lost: free some space in", told)
        assert "exceeding max length" not in told
        before = senas.study().records
        filler.unlink()
        senas.run(*words)
        after = senas.study().records
        assert [trial.state for trial in after] == ["COMPLETE"] * 6
        for trial in before:
            assert after[trial.number].curve[: len(trial.curve)] == trial.curve


@pytest.mark.slow
def test_a_search_whose_db_is_moved_ends_and_goes_on_when_it_is_back(senas: Senas) -> None:
    words = ("search", "tiny.yaml", "--set", "search.asha=null", "--set", "search.epochs=30", "--trials", "4")
    process = senas.start(*words)
    senas.wait_until(lambda trials: any(trial.epochs for trial in trials))
    aside = senas.folder / "aside"
    aside.mkdir()
    for file in senas.folder.glob("senas.db*"):
        file.rename(aside / file.name)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1, told
    assert f"the study DB {senas.folder / 'senas.db'} was moved, replaced or deleted" in told
    for file in aside.iterdir():
        file.rename(senas.folder / file.name)
    assert any(trial.epochs for trial in senas.study().records)
    senas.run(*words)
    assert [trial.state for trial in senas.study().records] == ["COMPLETE"] * 4
