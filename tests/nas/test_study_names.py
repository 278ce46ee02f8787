"""Names of studies: what a new one may be called, and that commands are printed as they can be typed."""

import shlex
import sys

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_config import MINIMAL

from nas.cli import COMMANDS, _Commands
from nas.cli.searching import _again
from nas.config import load_config, parse_config
from nas.driver import search
from results.study_names import check_study_name, evaluation_of, study_command
from search_space.errors import InputError

ODD = ["..", ".", ".hidden", "-x", "--help", "x" * 101, "ü" * 51]
NO_PATHS = ["a/b", "../a", "/a", "my search", "a\nb", "a\n", "", "a\\b", "a:b", "\udcff"]
GOOD = ["a", "_", "1", "cifar10-resnet20", "größe_2.0", "x" * 100, "ü" * 50, "v1..v2"]
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_name_is_taken(name):
    check_study_name(name)
    assert parse_config({**load_good(), "study": name}).study == name


@pytest.mark.parametrize("name", [*ODD, *NO_PATHS])
def test_what_cannot_name_a_new_study_is_told_with_the_rule(name):
    with pytest.raises(InputError, match="cannot be the name of a study: it begins with a letter") as caught:
        check_study_name(name)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def load_good():
    return {"backbone": {"name": "resnet8"}, "data": {"name": "digits"}, "search": {"trials": 4, "epochs": 2}}


@pytest.mark.parametrize("name", NO_PATHS)
def test_a_configuration_refuses_what_no_study_was_ever_called(name):
    with pytest.raises(InputError, match=r"study: .* cannot be the name of a study: .* --study NAME"):
        parse_config({**load_good(), "study": name})


def test_a_file_whose_name_cannot_be_a_studys_asks_for_one(tmp_path):
    file = tmp_path / "my search.yaml"
    file.write_text(MINIMAL)
    with pytest.raises(
        InputError, match=r"'my search' cannot be the name of a study: .* set another by the key 'study'"
    ):
        load_config(file)
    assert load_config(file, study="mine").study == "mine"


@pytest.mark.parametrize("name", ODD)
def test_nothing_is_begun_under_an_odd_name(tmp_path, name):
    config = parse_config({**load_good(), "study": name, "output": str(tmp_path / "runs")})
    with pytest.raises(InputError, match="cannot be the name of a study"):
        search(config, f"sqlite:///{tmp_path / 'new.db'}")
    assert not list(tmp_path.iterdir())


def test_an_odd_name_that_exists_is_not_refused_for_its_name(tmp_path):
    storage = f"sqlite:///{tmp_path / 'old.db'}"
    optuna.create_study(study_name="-x", storage=storage, direction="minimize")
    config = parse_config({**load_good(), "study": "-x", "output": str(tmp_path / "runs")})
    with pytest.raises(InputError, match="was not made by senas"):
        search(config, storage)


@given(NAMES)
def test_an_evaluation_may_always_be_begun(name):
    check_study_name(evaluation_of(name))


@given(st.lists(NAMES | st.sampled_from(ODD + GOOD), unique=True))
def test_evaluations_of_different_studies_are_different(names):
    assert len({evaluation_of(name) for name in names}) == len(names)


def test_the_usual_name_of_an_evaluation():
    assert evaluation_of("digits") == "digits-evaluation"


@given(NAMES | st.sampled_from(ODD), st.sampled_from(["trials", "show", "export", "delete"]))
def test_a_command_about_any_study_is_read_as_it_is_meant(name, command):
    options = " --storage 'sqlite:///my db.db'" + (" -o DIR" if command == "export" else "")
    first, *words = shlex.split(study_command(command, name, options))
    read = _Commands(COMMANDS)[first].make_context(first, words)
    assert read.params["study"] == name
    assert read.params["storage"] == "sqlite:///my db.db"


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        (["c.yaml"], ["c.yaml", "--trials", "8"]),
        (["c.yaml", "--trials", "4"], ["c.yaml", "--trials", "8"]),
        (["--trials=4", "c.yaml", "--seed", "1"], ["c.yaml", "--seed", "1", "--trials", "8"]),
        (["c.yaml", "--set", "search.trials=4"], ["c.yaml", "--trials", "8"]),
        (["c.yaml", "--set=search.trials=4"], ["c.yaml", "--trials", "8"]),
        (["c.yaml", "--set", "output=o --trials 3"], ["c.yaml", "--set", "output=o --trials 3", "--trials", "8"]),
        (["--", "-c.yaml"], ["--trials", "8", "--", "-c.yaml"]),
        (["c.yaml", "--storage", "postgresql://me:it's@h/d"], ["c.yaml", "--storage", "postgresql://me:***@h/d",
                                                              "--trials", "8"]),
    ],
)  # fmt: skip
def test_more_trials_are_asked_for_by_the_command_that_was_typed(monkeypatch, typed, again):
    monkeypatch.setattr(sys, "argv", ["senas", "search", *typed])
    storage = "postgresql://me:it's@h/d"
    assert shlex.split(_again(storage, 8)) == ["search", *again]
