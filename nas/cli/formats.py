"""Trials in the formats that programs read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from nas.cli.render import json_lines
from nas.cli.streams import write_utf8
from results.files import write_bytes
from results.records import TrialRecord
from results.rows import to_csv, to_json, to_parquet
from results.study import Study
from search_space.errors import InputError

Format = Literal["table", "json", "csv", "parquet"]

_FORMATS: tuple[Format, ...] = get_args(Format)
_Write = Callable[[Study, Sequence[TrialRecord], Sequence[str] | None], str | bytes]


def format_of(said: Format | None, output: Path | None, as_json: bool) -> Format:
    """What is to be written: as said, or as the file's name says, or a table.

    Raises:
        InputError: what is said contradicts itself, or is not said.
    """
    if as_json:
        said = said or "json"
    if said is None and output is not None:
        said = next((form for form in _FORMATS if output.suffix == f".{form}"), None)
        if said is None:
            raise InputError(f"the name {output} does not say in which format: end it on .csv, .json or .parquet")
    if as_json and said != "json":
        raise InputError(f"--json contradicts --format {said}: leave one out")
    if output is not None and said == "table":
        raise InputError("a table is for the terminal: write json, csv or parquet to a file")
    if output is None and said == "parquet":
        raise InputError("Parquet is not for the terminal: name a file, as in -o trials.parquet")
    return said or "table"


def write_trials(
    form: Format, study: Study, trials: Sequence[TrialRecord], columns: Sequence[str] | None, output: Path | None
) -> None:
    """Writes trials to a file, whole or not at all, or to stdout, as UTF-8.

    Args:
        columns: their names in expressions; the usual ones of the format, if not given.
    """
    content = _WRITERS[form](study, trials, columns)
    if output is not None:
        write_bytes(output, content if isinstance(content, bytes) else content.encode())
    elif isinstance(content, str):
        write_utf8(content)


def _json(study: Study, trials: Sequence[TrialRecord], columns: Sequence[str] | None) -> str:
    if columns is None:
        return "".join(json_lines(trial.to_json() for trial in trials))
    return "".join(json_lines(to_json(study.columns(trials, columns))))


_WRITERS: dict[Format, _Write] = {
    "json": _json,
    "csv": lambda study, trials, columns: to_csv(study.columns(trials, columns)),
    "parquet": lambda study, trials, columns: to_parquet(study.columns(trials, columns)),
}
