"""Trials as columns of plain values: for a pandas frame, a CSV or Parquet file, or what else one wants of them.

A column has the name by which expressions call it: ``accuracy``, ``layer3.position``, ``params['flops']``. What a
trial does not have is None.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from results.query.language import parse_name, written
from results.query.values import COLUMNS, unknown_column
from results.records import FIGURES, TrialRecord, finite
from search_space.errors import InputError, unknown

Columns = dict[str, list[Any]]
"""By the name of a column, its value of each trial."""

_Getter = Callable[[TrialRecord], Any]


def _architecture(trial: TrialRecord) -> str | None:
    """The text of its JSON, if it is what senas writes."""
    text = trial.architecture_json
    return text if text and text.startswith("{") and '"backbone":' in text else None


_GETTERS: dict[str, _Getter] = {name: attrgetter(name) for name in COLUMNS} | {
    "architecture": _architecture,
    "curve": lambda trial: list(trial.curve),
}
_LONG = ("architecture", "curve")


def columns_of(
    trials: Sequence[TrialRecord],
    names: Iterable[str] | None = None,
    *,
    objectives: Sequence[str],
    parameters: Callable[[], Iterable[str]],
) -> Columns:
    """The values of trials by column.

    Args:
        names: of the columns, as expressions have them. If not given, they are all that ``--json`` has but the
            architecture and the curve, the baseline's name, the further objectives, and the parameters of these trials.
        objectives: the names of the study's objectives.
        parameters: gives the names of all parameters of the study; asked where these trials lack one.

    Raises:
        InputError: a name is unknown, or there is one alone and no list.
    """
    if isinstance(names, str):
        raise InputError(f"columns must be a list of names, such as [{names!r}], not {names!r}")
    here = sorted({name for trial in trials for name in trial.parameters})
    if names is not None:
        getters = {name: _find(name, objectives, here, parameters) for name in names}
    else:
        getters = {name: getter for name, getter in _GETTERS.items() if name not in _LONG}
        further = [name for name in objectives if name not in FIGURES]
        getters |= {written(name, "objectives", getters): _objective(name) for name in further}
        getters |= {written(name, "params", {*_GETTERS, *objectives}): _parameter(name) for name in here}
    return {name: [getter(trial) for trial in trials] for name, getter in getters.items()}


def _find(
    text: str, objectives: Sequence[str], parameters: Sequence[str], all_parameters: Callable[[], Iterable[str]]
) -> _Getter:
    asked = parse_name(text)
    name, group = asked.name, asked.group
    if group is None and name in _GETTERS:
        return _GETTERS[name]
    if group in (None, "objectives") and name in objectives:
        return _objective(name)
    if group in (None, "params") and (name in parameters or name in all_parameters()):
        return _parameter(name)
    match group:
        case None:
            raise unknown_column(name, [*_GETTERS, *objectives, *all_parameters()])
        case "objectives":
            raise unknown("objective", name, objectives)
        case "params":
            raise unknown("parameter", name, all_parameters())
    raise unknown("group", group, ("params", "objectives"))


def _objective(name: str) -> _Getter:
    return lambda trial: trial.objectives.get(name)


def _parameter(name: str) -> _Getter:
    return lambda trial: trial.parameters.get(name)


def to_json(columns: Columns) -> list[dict[str, Any]]:
    """A dictionary each trial, for JSON: times as ISO 8601, NaN and infinities as None, architectures as objects."""
    plain = [
        [value and json.loads(value) if name == "architecture" else _plain(value) for value in values]
        for name, values in columns.items()
    ]
    return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]


def to_csv(columns: Columns) -> str:
    """CSV with a header (RFC 4180, but for lines that end as on Unix); what is missing is empty, lists are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(_cell, values) for values in columns.values()), strict=True))
    return text.getvalue()


def to_parquet(columns: Columns) -> bytes:
    """A Parquet file. A parameter that is text for some trials and a number for others is text for all."""
    import pyarrow  # as long to load as most queries take
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({name: _of_one_type(values) for name, values in columns.items()}), buffer)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    match value:
        case float():
            return finite(value)
        case datetime():
            return value.isoformat()
        case list():
            return [finite(accuracy) for accuracy in value]
    return value


def _cell(value: Any) -> Any:
    plain = _plain(value)
    return json.dumps(plain) if isinstance(plain, bool | list) else plain


def _of_one_type(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float} or (kinds == {int} and not all(_fits(value) for value in values)):
        return [value if value is None else float(value) for value in values]
    if len(kinds) < 2:
        return values
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]


def _fits(value: int | None) -> bool:
    return value is None or -(2**63) <= value < 2**63
