import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from nas.storage import open_storage
from results import open_study, studies
from results.checkpoint_places import database_file
from results.database import parse_url
from results.schema import UNDERSTOOD
from search_space.errors import InputError


@pytest.mark.parametrize("query", [studies, lambda url: open_study(url, "a study")])
def test_a_missing_file_is_said_and_not_made(tmp_path: Path, query) -> None:
    file = tmp_path / "missing.db"
    with pytest.raises(InputError, match=f"no study DB at {file}"):
        query(f"sqlite:///{file}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to be mistaken for the header of one" * 20)
    with pytest.raises(InputError, match=r"notes\.txt: file is not a database"):
        studies(f"sqlite:///{file}")


@pytest.mark.parametrize("statement", ["", "CREATE TABLE trials (trial_id INTEGER)"])
def test_a_database_that_is_not_optunas(tmp_path: Path, statement: str) -> None:
    file = tmp_path / "other.db"
    connection = sqlite3.connect(file)
    connection.execute(statement)
    connection.close()
    file.touch()
    with pytest.raises(InputError, match="not an Optuna study DB: it has no table 'studies'"):
        studies(f"sqlite:///{file}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("senas.db", "'senas.db' is not a database URL: for an SQLite file write sqlite:///senas.db"),
        ("sqlite:senas.db", "'sqlite:senas.db' is not a database URL: for an SQLite file write sqlite:///senas.db"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////", "is not a file"),
        ("sqlte:///senas.db", "unknown kind of database 'sqlte'"),
        ("postgresql+pg8000://me:secret@host/db", r"me:\*\*\*@host/db needs the Python package 'pg8000'"),
    ],
)
def test_urls_that_name_no_database(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        studies(url)


def test_a_db_without_studies(url: str, tmp_path: Path) -> None:
    optuna.storages.RDBStorage(url).engine.dispose()
    assert studies(url) == []
    with pytest.raises(InputError, match="holds no studies yet"):
        open_study(url, "a study")


@pytest.mark.parametrize("written", ["{url}\n", " {url} ", '"{url}"', "'{url}'", "{capitals}"])
def test_white_space_quotes_and_capitals_of_settings_change_no_url(
    url: str, tmp_path: Path, searched: optuna.Study, written: str
) -> None:
    text = written.format(url=url, capitals=url.replace("sqlite", "SQLite"))
    assert studies(text) == studies(url)
    files = set(tmp_path.iterdir())
    open_storage(text)
    assert set(tmp_path.iterdir()) - files <= {tmp_path / f"studies.db-{kind}" for kind in ("wal", "shm")}


def test_a_tilde_is_the_home_folder(
    url: str, tmp_path: Path, searched: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    assert studies("sqlite:///~/studies.db") == studies(url)
    open_storage("sqlite:///~/new.db")
    assert (tmp_path / "new.db").is_file()
    assert database_file("sqlite:///~/new.db") == tmp_path / "new.db"


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgres://me@host/db", "postgresql"),
        ("postgres+psycopg://me@host/db", "postgresql+psycopg"),
        ("POSTGRESQL+psycopg://me@host/db", "postgresql+psycopg"),
    ],
)
def test_postgres_is_postgresql(url: str, driver: str) -> None:
    address = parse_url(url)
    assert (address.drivername, address.username, address.host, address.database) == (driver, "me", "host", "db")


def test_a_path_with_odd_characters(url: str, tmp_path: Path, searched: optuna.Study) -> None:
    folder = tmp_path / "a #1 study"
    folder.mkdir()
    shutil.copy(tmp_path / "studies.db", folder / "copy.db")
    assert studies(f"sqlite:///{folder / 'copy.db'}") == studies(url)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_reading_leaves_the_file_as_it_was(url: str, tmp_path: Path, searched: optuna.Study, mode: str) -> None:
    file = tmp_path / "studies.db"
    writer = sqlite3.connect(file)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    writer.execute("UPDATE trials SET number = number")
    writer.commit()
    before = file.read_bytes()
    assert len(open_study(url, "a study").trials()) == 41
    assert studies(url)[0].name == "a study"
    assert file.read_bytes() == before
    writer.close()


def test_a_driver_may_be_writing_meanwhile(url: str, tmp_path: Path, searched: optuna.Study) -> None:
    writer = sqlite3.connect(tmp_path / "studies.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM trials")
    assert len(open_study(url, "a study").trials()) == 41
    writer.execute("ROLLBACK")
    writer.close()


def test_a_driver_killed_while_it_wrote_leaves_a_db_that_can_be_read(
    url: str, tmp_path: Path, searched: optuna.Study
) -> None:
    """Its half of a transaction lies in the file, and the journal to undo it beside it."""
    writer = sqlite3.connect(tmp_path / "studies.db", isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN")
    writer.execute("DELETE FROM trial_intermediate_values")
    writer.executemany("INSERT INTO trial_user_attributes (key, value_json) VALUES (?, ?)", [("x", "x" * 9999)] * 99)
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("studies.db", "studies.db-journal"):
        shutil.copy(tmp_path / name, killed / name)
    writer.close()
    study = open_study(f"sqlite:///{killed / 'studies.db'}", "a study")
    assert [record.curve for record in study.trials() if record.state == "COMPLETE"] == [
        record.curve for record in open_study(url, "a study").trials() if record.state == "COMPLETE"
    ]


def test_queries_import_neither_torch_nor_ray_nor_optuna(url: str, searched: optuna.Study) -> None:
    code = f"""
import sys
import results
study = results.open_study({url!r}, "a study")
assert results.studies({url!r}) and study.front() and study.best().to_json() and study.best().architecture
assert study.trials("accuracy > 0 and layer1.position == 'pre'", sort="-flops")
heavy = {{"torch", "ray", "optuna", "torchvision", "safetensors", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("revision", "mend"),
    [
        ("v2.6.0.a", "`optuna storage upgrade --storage URL`"),
        ("v9.9.0.a", "use a senas that understands it"),
    ],
)
def test_another_schema_is_said(url: str, tmp_path: Path, searched: optuna.Study, revision: str, mend: str) -> None:
    connection = sqlite3.connect(tmp_path / "studies.db")
    connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.commit()
    connection.close()
    for query in (studies, lambda url: open_study(url, "a study")):
        with pytest.raises(
            InputError, match=rf"schema {revision}, and understood are v3\.0\.0\.d and v3\.2\.0\.a: .*"
        ) as e:
            query(url)
        assert mend in str(e.value)


def test_optunas_own_schema_is_understood(url: str) -> None:
    storage = optuna.storages.RDBStorage(url)
    assert storage.get_head_version() == UNDERSTOOD[-1]
    storage.engine.dispose()
    assert studies(url) == []
