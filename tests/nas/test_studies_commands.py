"""The commands on whole studies: copy, delete and compare."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

import results
from nas.cli import main
from nas.lease import Lease
from nas.storage import open_storage


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    return request.getfixturevalue("postgresql").new_database()


@pytest.fixture
def file_url(tmp_path):
    return f"sqlite:///{tmp_path / 'file.db'}"


def make(url, name, points=((0.5, 10), (0.6, 20)), checkpoints="/runs/checkpoints"):
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name=name, directions=["maximize", "minimize"])
    study.set_metric_names(["accuracy", "flops"])
    if checkpoints:
        study.set_user_attr("checkpoints", checkpoints)
    shared = {
        "params": {"position": "pre"},
        "distributions": {"position": CategoricalDistribution(["pre", "post"])},
        "intermediate_values": {1: 0.25, 2: 0.5},
        "user_attrs": {"architecture_id": "ab"},
        "system_attrs": {"constraints": [0.0]},
    }
    for accuracy, flops in points:
        study.add_trial(create_trial(values=[accuracy, flops], **shared))
    study.add_trial(create_trial(state=TrialState.RUNNING, **shared))
    storage._backend.engine.dispose()


def senas(capsys, *words, code=0):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    assert (ended.value.code or 0) == code, said
    return said.err if code else said.out


def rows(url):
    """How many rows every table has."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        counted = {
            table: connection.scalar(sa.text(f"SELECT count(*) FROM {table}"))
            for table in sa.inspect(engine).get_table_names()
        }
    engine.dispose()
    return counted


def test_a_study_is_copied_with_its_name_or_another(url, file_url, capsys):
    make(file_url, "digits")
    said = senas(capsys, "copy", "digits", "--to", url, "--storage", file_url)
    assert "Copied study 'digits' to 'digits'" in said
    assert "3 trials (2 complete, 1 running)" in said
    assert "Both have their checkpoints in /runs/checkpoints: go on with one of the two only." in said
    senas(capsys, "copy", "digits", "--to", url, "--as", "again", "--storage", url)
    there = [results.open_study(url, name).trials() for name in ("digits", "again")]
    assert there == [results.open_study(file_url, "digits").trials()] * 2
    refusal = senas(capsys, "copy", "digits", "--to", url, "--storage", file_url, code=2)
    assert "has a study 'digits' already" in refusal


def test_a_copy_does_not_take_the_lease_along(url, file_url, capsys):
    make(file_url, "digits")
    with Lease.take(file_url, "digits"):
        senas(capsys, "copy", "digits", "--to", url, "--storage", file_url)
        Lease.take(url, "digits").release()


def test_no_db_is_made_for_a_study_that_is_not_there(file_url, tmp_path, capsys):
    make(file_url, "digits")
    to = tmp_path / "other.db"
    said = senas(capsys, "copy", "digit", "--to", f"sqlite:///{to}", "--storage", file_url, code=2)
    assert "unknown study 'digit': did you mean 'digits'?" in said
    assert not to.exists()


def test_deleting_takes_that_study_alone(url, capsys):
    make(url, "kept")
    Lease.take(url, "kept").release()  # makes the table of leases, as a search does
    before = rows(url)
    make(url, "digits")
    said = senas(capsys, "delete", "digits", "--yes", "--storage", url)
    assert "3 trials (2 complete, 1 running)" in said
    assert "Not deleted: its checkpoints in /runs/checkpoints" in said
    assert rows(url) == before
    assert [study.name for study in results.studies(url)] == ["kept"]
    assert len(results.open_study(url, "kept").trials()) == 3


def test_a_study_that_senas_did_not_make_can_be_copied_and_deleted(file_url, capsys):
    optuna.create_study(storage=open_storage(file_url), study_name="other")
    assert senas(capsys, "copy", "other", "--as", "more", "--to", file_url, "--storage", file_url).count("\n") == 1
    senas(capsys, "delete", "other", "--yes", "--storage", file_url)
    assert [study.name for study in results.studies(file_url)] == ["more"]


@pytest.mark.parametrize("name", ["-x", "..", "a/b", "x" * 300, "it's mine"])
def test_an_odd_name_is_asked_about_copied_and_deleted_but_not_given_to_a_copy(file_url, tmp_path, capsys, name):
    make(file_url, name)
    senas(capsys, "trials", "--storage", file_url, "--", name)
    to = tmp_path / "other.db"
    senas(capsys, "copy", "--to", f"sqlite:///{to}", "--storage", file_url, "--", name)
    assert [study.name for study in results.studies(f"sqlite:///{to}")] == [name]
    to.unlink()
    words = ["--to", f"sqlite:///{to}", "--storage", file_url, "--as", name, "--", name]
    assert "give the copy another by --as NAME" in senas(capsys, "copy", *words, code=2)
    assert not to.exists()
    senas(capsys, "delete", "--yes", "--storage", file_url, "--", name)
    assert not results.studies(file_url)


def test_a_study_that_is_being_written_is_not_deleted(url, capsys):
    make(url, "digits")
    with Lease.take(url, "digits", interval_s=0.2):
        said = senas(capsys, "delete", "digits", "--yes", "--storage", url, code=2)
    assert "study 'digits' is in use: process" in said
    assert len(results.open_study(url, "digits").trials()) == 3


def test_without_a_terminal_deleting_takes_yes(file_url, capsys):
    make(file_url, "digits")
    assert "say so by --yes" in senas(capsys, "delete", "digits", "--storage", file_url, code=2)
    assert len(results.open_study(file_url, "digits").trials()) == 3


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 3), ("\x04", 1, 3), ("y", 0, None)])
def test_deleting_asks(file_url, answer, code, left):
    make(file_url, "digits")
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    command = [sys.executable, "-m", "nas", "delete", "digits", "--storage", file_url]
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, check=False, timeout=100)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "Delete it? [y/N]" in done.stdout
    assert ("Nothing is deleted." in done.stdout) == bool(left)
    assert [len(results.open_study(file_url, study.name).trials()) for study in results.studies(file_url)] == (
        [left] if left else []
    )


def test_studies_are_compared(url, capsys):
    make(url, "one")
    make(url, "other", points=((0.6, 10),))
    said = senas(capsys, "compare", "one", "other", "--storage", url)
    lines = [line.split() for line in said.splitlines()]
    assert lines[1:3] == [
        ["one", "2", "0", "0", "1", "0.6000", "2", "0.1736", "0%", "0%"],
        ["other", "1", "0", "0", "1", "0.6000", "1", "1.0000", "100%", "100%"],
    ]
    assert lines[-2:] == [["10", "0.5000", "0.6000"], ["20", "0.6000", "0.6000"]]
    found = json.loads(senas(capsys, "compare", "one", "other", "--json", "--storage", url))
    assert [study["covers"] for study in found["studies"]] == [{"other": 0.0}, {"one": 1.0}]
    assert found["levels"][0] == {
        "flops": 10,
        "accuracies": {"one": 0.5, "other": 0.6},
        "values": {"one": 0.5, "other": 0.6},
    }
    assert found["notes"] == ["It is not known which images give the accuracies of 'one' and 'other'."]


def test_comparing_loads_neither_torch_nor_optuna(file_url):
    make(file_url, "one")
    make(file_url, "other")
    code = f"""
import sys
from results import open_study
from results.comparing import compare
compare([open_study({file_url!r}, name) for name in ("one", "other")])
heavy = {{"torch", "ray", "optuna", "altair", "pandas"}} & set(sys.modules)
assert not heavy, heavy
"""
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_brackets_and_colons_in_names_are_just_that(file_url, capsys):
    name = "[/x] [bold]:warning: bad"
    for study in (name, "digits"):
        make(file_url, study)
    for command in (("studies",), ("pareto", name), ("compare", name, "digits")):
        assert name in senas(capsys, *command, "--storage", file_url)
