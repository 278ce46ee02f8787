"""A study on a server says the same as in a file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage

from results import open_study, studies
from results.database import reading
from search_space.errors import InputError


@pytest.fixture(scope="module")
def written_once(postgresql, searched_file: Path) -> str:
    """The name of a database with the study of ``searched``, made through Optuna alone."""
    url = postgresql.new_database()
    source = optuna.load_study(storage=f"sqlite:///{searched_file}", study_name="a study")
    storage = RDBStorage(url)
    study = storage.create_new_study(source.directions, "a study")
    for key, value in source.user_attrs.items():
        storage.set_study_user_attr(study, key, value)
    storage.set_study_system_attr(study, "study:metric_names", source.metric_names)
    for trial in source.trials:
        storage.create_new_trial(study, template_trial=trial)
    storage.engine.dispose()
    return str(sa.make_url(url).database)


@pytest.fixture
def server_url(postgresql, written_once: str, searched: optuna.Study) -> str:
    """The DB of a server that says what the file at ``url`` says."""
    return postgresql.new_database(like=written_once)


def senas(url: str, *words: str) -> Any:
    environment = os.environ | {"SENAS_STORAGE": url}
    command = [sys.executable, "-m", "nas", *words, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_studies_are_the_same(url: str, server_url: str) -> None:
    assert studies(server_url) == studies(url)


def test_the_trials_are_the_same(url: str, server_url: str) -> None:
    here, there = open_study(url, "a study"), open_study(server_url, "a study")
    assert there.user_attrs == here.user_attrs
    assert there.objectives == here.objectives
    assert there.parameters == here.parameters
    assert len(there.trials()) == 41
    for one, other in zip(here.trials(), there.trials(), strict=True):
        assert repr(other.curve) == repr(one.curve)  # one of them has diverged, and nan is not nan
        assert other.to_json() | {"curve": ()} == one.to_json() | {"curve": ()}
        assert (other.parameters, other.metrics, other.objectives) == (one.parameters, one.metrics, one.objectives)
    assert [record.number for record in there.front()] == [record.number for record in here.front()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("studies",), ("trials", "a study"), ("pareto", "a study")], ids=lambda words: words[0]
)
def test_the_command_says_the_same(url: str, server_url: str, words: tuple[str, ...]) -> None:
    assert senas(server_url, *words) == senas(url, *words)


def test_postgresql_without_its_driver_named(url: str, server_url: str) -> None:
    assert studies(server_url.replace("+psycopg", "")) == studies(url)


def test_all_queries_see_one_moment(server_url: str) -> None:
    count = sa.text("SELECT count(*) FROM trials")
    storage = RDBStorage(server_url)
    with reading(server_url) as connection:
        before = connection.scalar(count)
        storage.create_new_trial(storage.get_study_id_from_name("a study"))
        assert connection.scalar(count) == before == 41
    with reading(server_url) as connection:
        assert connection.scalar(count) == 42
    storage.engine.dispose()


@pytest.mark.parametrize("statement", ["DELETE FROM trials", "CREATE TABLE more (x INTEGER)"])
def test_nothing_can_be_written(server_url: str, statement: str) -> None:
    with (
        pytest.raises(InputError, match="in a read-only transaction"),
        reading(server_url) as connection,
    ):
        connection.execute(sa.text(statement))


def test_nothing_is_written(server_url: str) -> None:
    """Whoever writes takes a transaction's number, and none has been taken."""
    next_number = sa.text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    engine = sa.create_engine(server_url)
    with engine.connect() as connection:
        before = connection.scalar(next_number)
    studies(server_url)
    open_study(server_url, "a study")
    with engine.connect() as connection:
        assert connection.scalar(next_number) == before
    engine.dispose()


def test_the_right_to_read_is_enough(url: str, server_url: str) -> None:
    engine = sa.create_engine(server_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE ROLE reader LOGIN"))
        connection.execute(sa.text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
    engine.dispose()
    assert studies(str(sa.make_url(server_url).set(username="reader"))) == studies(url)


def test_a_server_that_is_away(postgresql, server_url: str) -> None:
    postgresql.stop()
    try:
        with pytest.raises(InputError, match=r"cannot read postgresql\+psycopg://.*Connection refused"):
            studies(server_url)
    finally:
        postgresql.start()


def test_a_database_that_does_not_exist(postgresql) -> None:
    with pytest.raises(InputError, match='database "missing" does not exist'):
        studies(postgresql.url("missing"))
