"""A copied study is the study, as Optuna reads it."""

import math
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from results import studies
from results.copying import copy_study
from search_space.errors import InputError

numbers = st.floats(allow_nan=False)
names = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=8)
attributes = st.dictionaries(names, st.none() | st.integers() | st.text(max_size=8) | st.lists(st.floats()), max_size=3)
PARAMETERS = {
    "position": (CategoricalDistribution(["pre", None, True, 3]), st.sampled_from(["pre", None, True, 3])),
    "ratio": (IntDistribution(1, 64, log=True), st.integers(1, 64)),
    "rate": (FloatDistribution(-1.0, 1.0), st.floats(-1.0, 1.0)),
}
STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]


@st.composite
def trials(draw: st.DrawFn) -> FrozenTrial:
    state = draw(st.sampled_from(STATES))
    chosen = draw(st.lists(st.sampled_from(sorted(PARAMETERS)), unique=True))
    return create_trial(
        state=state,
        values=draw(st.lists(numbers, min_size=2, max_size=2)) if state == TrialState.COMPLETE else None,
        params={name: draw(PARAMETERS[name][1]) for name in chosen},
        distributions={name: PARAMETERS[name][0] for name in chosen},
        user_attrs=draw(attributes),
        system_attrs=draw(attributes),
        intermediate_values=draw(st.dictionaries(st.integers(0, 300), st.floats(), max_size=4)),
    )


@pytest.fixture
def storage(url: str) -> Iterator[RDBStorage]:
    yield from opened(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RDBStorage]:
    of_server = request.param == "postgresql"
    yield from opened(
        request.getfixturevalue("postgresql").new_database() if of_server else f"sqlite:///{tmp_path / 'target.db'}"
    )


def opened(url: str) -> Iterator[RDBStorage]:
    storage = RDBStorage(url)
    yield storage
    storage.engine.dispose()


def url_of(storage: RDBStorage) -> str:
    return storage.engine.url.render_as_string(hide_password=False)


def said_of(storage: RDBStorage, name: str) -> list[Any]:
    """All that Optuna knows of a study and its trials, in a form in which nan equals nan."""
    study = optuna.load_study(study_name=name, storage=storage)
    facts = [study.directions, study.user_attrs, storage.get_study_system_attrs(study._study_id)]
    without_id = [{key: value for key, value in vars(trial).items() if key != "_trial_id"} for trial in study.trials]
    return [repr(_sorted(fact)) for fact in [*facts, *without_id]]


def _sorted(fact: Any) -> Any:
    return {key: _sorted(fact[key]) for key in sorted(fact)} if isinstance(fact, dict) else fact


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(trials(), max_size=5), said=attributes, stepwise=attributes)
def test_a_copy_says_what_the_study_says(
    storage: RDBStorage,
    target: RDBStorage,
    made: list[FrozenTrial],
    said: dict[str, Any],
    stepwise: dict[str, Any],
) -> None:
    """There and back, between studies that were there before."""
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    for key, value in said.items():
        study.set_user_attr(key, value)
    for key, value in stepwise.items():
        storage.set_study_system_attr(study._study_id, key, value)
    for trial in made:
        storage.create_new_trial(study._study_id, trial)
    copy_study(url_of(storage), study.study_name, target.engine, study.study_name)
    copy_study(url_of(target), study.study_name, storage.engine, f"{study.study_name} again")
    original = said_of(storage, study.study_name)
    assert len(original) == 3 + len(made)
    assert said_of(target, study.study_name) == original
    assert said_of(storage, f"{study.study_name} again") == original


def test_a_study_as_senas_leaves_it(url: str, target: RDBStorage, searched: optuna.Study) -> None:
    copy_study(url, "a study", target.engine, "a copy")
    copied = optuna.load_study(storage=target, study_name="a copy")
    assert copied.metric_names == ["accuracy", "flops"]
    assert {trial.state for trial in copied.trials} == set(STATES)
    assert any(math.isnan(value) for trial in copied.trials for value in trial.intermediate_values.values())
    assert said_of(target, "a copy") == said_of(searched._storage._backend, "a study")


def test_optuna_goes_on_with_a_copy(url: str, target: RDBStorage, searched: optuna.Study) -> None:
    copy_study(url, "a study", target.engine, "a study")
    study = optuna.load_study(storage=target, study_name="a study")
    waiting = study.ask()
    assert (waiting.number, waiting.params or waiting.suggest_int("count", 1, 8, log=True)) == (40, 3)
    assert study.ask().number == 41


def test_a_study_that_is_there_already_is_left_alone(url: str, target: RDBStorage, searched: optuna.Study) -> None:
    optuna.create_study(storage=target, study_name="a study")
    before = said_of(target, "a study")
    with pytest.raises(InputError, match="has a study 'a study' already: give the copy another name"):
        copy_study(url, "a study", target.engine, "a study")
    assert said_of(target, "a study") == before
    assert [study.name for study in studies(url_of(target))] == ["a study"]


def test_a_copy_that_breaks_off_leaves_nothing(
    url: str, storage: RDBStorage, tmp_path: Path, searched: optuna.Study
) -> None:
    target = RDBStorage(f"sqlite:///{tmp_path / 'target.db'}")
    with closing(sqlite3.connect(tmp_path / "target.db")) as db, db:
        refuse = "WHEN NEW.trial_id > 9 BEGIN SELECT RAISE(ABORT, 'full'); END"
        db.execute(f"CREATE TRIGGER full BEFORE INSERT ON trial_values {refuse}")
    with pytest.raises(InputError, match=r"cannot write to sqlite:.*target\.db: full"):
        copy_study(url, "a study", target.engine, "a study")
    with target.engine.connect() as connection:
        counts = [
            connection.scalar(sa.text(f"SELECT count(*) FROM {table}"))
            for table in sa.inspect(target.engine).get_table_names()
            if table not in ("alembic_version", "version_info")
        ]
    assert len(counts) >= 10
    assert sum(counts) == 0
    target.engine.dispose()


def test_a_study_that_is_being_written_is_copied_as_it_was_at_one_moment(
    storage: RDBStorage, target: RDBStorage
) -> None:
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    study = optuna.create_study(storage=storage, study_name="written", directions=["maximize", "minimize"])
    done = threading.Event()
    trial = create_trial(
        values=[0.5, 1.0],
        params={"ratio": 2},
        distributions={"ratio": IntDistribution(1, 64)},
        intermediate_values=dict.fromkeys(range(5), 0.5),
    )

    def write() -> None:
        while not done.is_set():
            study.add_trial(trial)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(8):
            copy_study(url_of(storage), "written", target.engine, f"copy {number}")
    finally:
        done.set()
        writer.join()
    original = said_of(storage, "written")
    lengths = []
    for number in range(8):
        copied = said_of(target, f"copy {number}")
        assert copied == original[: len(copied)]
        lengths.append(len(copied))
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 1  # it was written meanwhile


def test_the_source_is_not_changed(url: str, target: RDBStorage, searched: optuna.Study, tmp_path: Path) -> None:
    before = (tmp_path / "studies.db").read_bytes()
    copy_study(url, "a study", target.engine, "a study")
    assert (tmp_path / "studies.db").read_bytes() == before


def test_a_study_that_is_not_there(url: str, target: RDBStorage, searched: optuna.Study) -> None:
    with pytest.raises(InputError, match="unknown study 'a studdy': did you mean 'a study'"):
        copy_study(url, "a studdy", target.engine, "a study")
    assert studies(url_of(target)) == []


def test_the_copy_of_a_search_names_its_own_file(storage: RDBStorage, tmp_path: Path) -> None:
    """Or a search that goes on with the copy would take it for one that was made behind senas's back."""
    target = next(opened(f"sqlite:///{tmp_path / 'target.db'}"))
    attributes = {"config": {}, "checkpoints": "/runs/mine", "database": "/there/senas.db"}
    for name, said in (("mine", attributes), ("theirs", {"database": "of faces"})):
        study = optuna.create_study(study_name=name, storage=storage)
        for key, value in said.items():
            study.set_user_attr(key, value)
        copy_study(url_of(storage), name, target.engine, name)
    mine, theirs = (optuna.load_study(study_name=name, storage=target).user_attrs for name in ("mine", "theirs"))
    assert mine == attributes | {"database": str(tmp_path / "target.db")}
    assert theirs == {"database": "of faces"}
