"""Trials as columns, frames and files say what the records say."""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pandas
import pytest
from optuna.trial import TrialState
from pyarrow import parquet

from nas.cli import main
from results import Study, TrialRecord, open_study
from search_space.errors import InputError

COLUMNS = [
    "number", "state", "architecture_id", "accuracy", "flops", "params", "epochs", "duration_s", "started",
    "is_pareto", "is_baseline", "baseline", "fail_reason",
]  # fmt: skip
PARAMETERS = ["count", "layer1.0.ratio", "layer1.position", "rate"]


@pytest.fixture
def study(url: str, searched: optuna.Study) -> Study:
    return open_study(url, "a study")


@pytest.fixture
def senas(url: str, searched: optuna.Study, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command about the study prints."""

    def run(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main(["trials", "a study", *words, "--storage", url])
        said = capsys.readouterr()
        assert end.value.code == (code or None), said.err
        return said.err if code else said.out

    return run


def wanted(trial: TrialRecord) -> list[Any]:
    return [getattr(trial, name) for name in COLUMNS] + [trial.parameters.get(name) for name in PARAMETERS]


def test_a_frame_has_a_row_each_trial(study: Study) -> None:
    frame = study.frame()
    assert list(frame.columns) == COLUMNS + PARAMETERS
    assert len(frame) == 41
    for (_, row), trial in zip(frame.iterrows(), study.trials(), strict=True):
        for found, value in zip(row, wanted(trial), strict=True):
            assert found == value or (value is None and pandas.isna(found))
    assert list(study.frame("accuracy > 0.5", sort="-accuracy", limit=3, columns=["accuracy"])["accuracy"]) == [
        trial.accuracy for trial in study.trials("accuracy > 0.5", sort="-accuracy", limit=3)
    ]


def test_columns_are_called_as_in_expressions(url: str, new_study: Callable[..., optuna.Study]) -> None:
    reference = new_study(metrics=("latency", "accuracy", "two words", "state"))
    trial = reference.ask()
    for name in ("flops", "latency", "of-two", "plain"):
        trial.suggest_int(name, 3, 3)
    reference.tell(trial, [1.0, 0.5, 2.0, 4.0])
    study = open_study(url, "a study")
    row = study.frame().iloc[0]
    further = ["latency", "objectives['two words']", "objectives['state']"]
    assert list(row.index) == [*COLUMNS, *further, "params['flops']", "params['latency']", "params['of-two']", "plain"]
    for name in row.index[len(COLUMNS) :]:
        assert study.count(f"{name} == {float(row[name])}") == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["acuracy"], "unknown column 'acuracy': did you mean 'accuracy'"),
        (["params['cuont']"], "unknown parameter 'cuont': did you mean 'count'"),
        (["objectives['flop']"], "unknown objective 'flop': did you mean 'flops'"),
        (["parms['count']"], "unknown group 'parms': did you mean 'params'"),
        (["1 + 1"], "is no name of a column"),
        (["FLOPs"], "unknown column 'FLOPs': did you mean 'flops'"),
        ("accuracy", "columns must be a list of names, such as ['accuracy'], not 'accuracy'"),
    ],
)
def test_columns_that_there_are_not(study: Study, columns: list[str] | str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        study.frame(columns=columns)


def test_csv_can_be_read_back(study: Study, senas: Callable[..., str]) -> None:
    header, *rows = csv.reader(io.StringIO(senas("--format", "csv")))
    assert header == COLUMNS + PARAMETERS
    assert len(rows) == 41
    for row, trial in zip(rows, study.trials(), strict=True):
        for cell, value in zip(row, wanted(trial), strict=True):
            match value:
                case None:
                    assert cell == ""
                case bool():
                    assert json.loads(cell) is value
                case datetime():
                    assert datetime.fromisoformat(cell) == value
                case _:
                    assert type(value)(cell) == value


def test_odd_values_survive_in_csv(url: str, new_study: Callable[..., optuna.Study]) -> None:
    reference = new_study()
    trial = reference.ask()
    text = 'a "reason",\nof two lines;\tß'
    trial.set_user_attr("fail_reason", text)
    trial.suggest_categorical("mixed", [True])
    reference.tell(trial, [math.inf, 5])
    from results.rows import to_csv

    columns = open_study(url, "a study").columns(
        open_study(url, "a study").trials(), ["fail_reason", "accuracy", "mixed"]
    )
    assert list(csv.reader(io.StringIO(to_csv(columns))))[1] == [text, "", "true"]


def test_parquet_can_be_read_back(study: Study, senas: Callable[..., str], tmp_path: Path) -> None:
    assert senas("-o", str(tmp_path / "trials.parquet")) == ""
    assert {file.name for file in tmp_path.iterdir()} == {"studies.db", "trials.parquet"}
    rows = parquet.read_table(tmp_path / "trials.parquet").to_pylist()
    assert [list(row.values()) for row in rows] == [wanted(trial) for trial in study.trials()]


def test_parquet_with_curves_and_with_a_parameter_of_both_kinds(
    url: str, tmp_path: Path, new_study: Callable[..., optuna.Study], report: Callable[..., None]
) -> None:
    reference = new_study()
    for _ in range(12):
        trial = reference.ask()
        trial.suggest_categorical("mixed", [None, True, 8, 0.5, "none"])
        report(trial, 0.25, 1)
        report(trial, 0.5, 2)
    from results.rows import to_parquet

    study = open_study(url, "a study")
    table = parquet.read_table(io.BytesIO(to_parquet(study.columns(study.trials(), ["mixed", "curve"]))))
    said = {None: None, True: "true", 8: "8", 0.5: "0.5", "none": "none"}
    assert table["mixed"].to_pylist() == [said[trial.parameters["mixed"]] for trial in study.trials()]
    assert table["curve"].to_pylist() == [[0.25, 0.5]] * 12


def test_json_is_of_records_or_of_the_columns_asked_for(study: Study, senas: Callable[..., str]) -> None:
    assert json.loads(senas("--json")) == [trial.to_json() for trial in study.trials()]
    assert senas("--format", "json") == senas("--json")
    asked = "number, layer1.position,started,curve,architecture,params['count']"
    found = json.loads(senas("--json", "--columns", asked, "--limit", "3"))
    assert found == [
        {
            "number": trial.number,
            "layer1.position": trial.parameters["layer1.position"],
            "started": trial.started.isoformat(),
            "curve": trial.to_json()["curve"],
            "architecture": trial.to_json()["architecture"],
            "params['count']": trial.parameters["count"],
        }
        for trial in study.trials(limit=3)
    ]
    assert json.loads(senas("--json", "--where", "number < 0")) == []


def test_an_architecture_is_text_where_there_are_no_objects(study: Study, senas: Callable[..., str]) -> None:
    (_, *rows) = csv.reader(io.StringIO(senas("--format", "csv", "--columns", "architecture", "--limit", "3")))
    assert [json.loads(cell) for (cell,) in rows] == [
        trial.to_json()["architecture"] for trial in study.trials(limit=3)
    ]


def test_parquet_with_counts_beyond_64_bits(url: str, new_study: Callable[..., optuna.Study]) -> None:
    reference = new_study(metrics=("accuracy", "flops", "params"))
    reference.tell(reference.ask(), [0.5, 1e300, 7.0])
    reference.tell(reference.ask(), [0.5, 7.0, 2.0**53])
    from results.rows import to_parquet

    study = open_study(url, "a study")
    table = parquet.read_table(io.BytesIO(to_parquet(study.columns(study.trials(), ["flops", "params"]))))
    assert table.to_pydict() == {"flops": [1e300, 7.0], "params": [7, 2**53]}
    assert [str(column.type) for column in table.itercolumns()] == ["double", "int64"]


def test_a_file_is_written_as_its_name_ends(senas: Callable[..., str], tmp_path: Path) -> None:
    for name in ("trials.json", "trials.csv"):
        assert senas("--output", str(tmp_path / name)) == ""
        assert (tmp_path / name).read_text() == senas("--format", name.removeprefix("trials."))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--json", "--format", "csv"), "--json contradicts --format csv"),
        (("--format", "parquet"), "name a file, as in -o trials.parquet"),
        (("-o", "trials.xls"), "end it on .csv, .json or .parquet"),
        (("-o", "trials.txt", "--format", "table"), "a table is for the terminal"),
        (("-o", "missing/trials.csv"), "missing/trials.csv cannot be written"),
        (("--columns", "number,acuracy"), "unknown column 'acuracy'"),
        (("--columns", "number,,accuracy"), "in `number,,accuracy` at column 8"),
        (("--columns", ""), "no column is named"),
        (("--sort", ""), "the name of a column is empty"),
        (("--limit", "0"), "'--limit': Input should be greater than or equal to 1"),
        (("--limit", "99999999999999999999"), "'--limit': Input should be less than or equal to 2147483647"),
        (("--where", "baseline == '\udcff'"), "this is not UTF-8"),
        (("--where", "accuracy > > 1"), "in `accuracy > > 1` at column 12, `> 1`: expected a name"),
    ],
)
def test_what_cannot_be_written(
    senas: Callable[..., str], words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in senas(*words, code=2)
    assert {file.name for file in tmp_path.iterdir()} == {"studies.db"}


def test_a_table_of_the_columns_asked_for(senas: Callable[..., str]) -> None:
    lines = senas("--columns", "number,layer1.position,is_pareto", "--limit", "2").splitlines()
    assert lines[0].split() == ["number", "layer1.position", "is_pareto"]
    assert len(lines) == 3


def test_a_long_table_stops_and_says_so(senas: Callable[..., str], searched: optuna.Study) -> None:
    assert "more" not in senas()
    template = optuna.trial.create_trial(state=TrialState.FAIL)
    for _ in range(12):
        searched.add_trial(template)
    lines = senas().splitlines()
    assert lines[-1].startswith("... and 3 more: see them by --limit 53")
    assert len(lines) == 1 + 50 + 1
    assert senas("--where", "number >= 3").splitlines()[-1].split()[1:2] != ["and"]
    assert len(senas("--limit", "53").splitlines()) == 1 + 53
