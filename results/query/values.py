"""What a name in an expression is in SQL: a column of --json, an objective or a parameter of the trial at hand.

What is not in the table of trials itself is a subquery of that trial, so an expression costs what it names.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from math import inf, isnan
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from results import start_times, tables
from results.query.dialects import IsoTime, JsonString, SecondsBetween, SecondsLater
from results.records import STATES
from results.schema import CURVES, PARAMETERS, TRIAL_ATTRIBUTES, TRIALS, VALUES
from results.tables import Objective, among, is_state
from search_space.errors import InputError, unknown

Number = sa.ColumnElement[float]
Text = sa.ColumnElement[str]
Truth = sa.ColumnElement[bool]

COLUMNS = (
    "number",
    "state",
    "architecture",
    "architecture_id",
    "accuracy",
    "flops",
    "params",
    "epochs",
    "duration_s",
    "started",
    "is_pareto",
    "is_baseline",
    "baseline",
    "curve",
    "fail_reason",
)
"""What every trial has a value for, or None; the keys of ``--json`` and the baseline's name."""

_HEADINGS = {"trial": "number"}
"""Headings of the table for people, by the column that they are of; FLOPs and the like differ in case alone."""

_LATER = CURVES.alias()


@dataclass(frozen=True, eq=False)
class Value:
    """A value of a trial: a number or a text, which is NULL where the trial's is not of that kind, or is missing.

    A value that cannot be of a kind, whatever the trial, has None for it.
    """

    number: Number | None = None
    text: Text | None = None


class Names:
    """The names of one study, looked up while its DB is read."""

    def __init__(
        self, connection: Connection, study: int, objectives: Sequence[Objective], on_front: Collection[int]
    ) -> None:
        self._connection = connection
        self._study = study
        self._objective_names = [objective.name for objective in objectives]
        self._on_front = on_front

    def value(self, name: str, group: str | None = None) -> Value:
        """What a name stands for: a column, or else an objective, or else a parameter.

        Args:
            group: "params" or "objectives", for a name that is looked up there alone.

        Raises:
            InputError: nothing has that name.
        """
        match group:
            case "objectives":
                return self._objective(name) or _raise(unknown("objective", name, self._objective_names))
            case "params":
                return self._parameter(name) or _raise(unknown("parameter", name, self._parameter_names))
            case None:
                found = self._column(name) or self._objective(name) or self._parameter(name)
                return found or _raise(self._unknown(name))
        raise unknown("group", group, ("params", "objectives"))

    def curve_has(self, number: Number) -> Truth:
        """That a number is an accuracy on the trial's curve."""
        value = _decoded(CURVES.c.intermediate_value, CURVES.c.intermediate_value_type)
        mine = CURVES.c.trial_id == TRIALS.c.trial_id
        return sa.select(CURVES.c.step).where(mine, value == number).correlate(TRIALS).exists()

    def _column(self, name: str) -> Value | None:
        match name:
            case "accuracy":
                return Value(self._accuracy())
            case "flops" | "params":
                return Value(self._cost(name))
            case "is_pareto":
                return Value(_as_number(among(self._on_front)))
            case "started":
                return Value(text=IsoTime(self._start) + "+00:00")
            case "duration_s":
                return Value(SecondsBetween(self._start, TRIALS.c.datetime_complete))
            case "curve":
                raise InputError("a curve is no single value: ask for one on it, as in 0.9 in curve")
        return _COLUMNS[name]() if name in _COLUMNS else None

    @cached_property
    def _start(self) -> sa.ColumnElement[Any]:
        """When the trial started, in UTC; NULL where it is stored in a local time of an unknown zone."""
        offsets = start_times.ranges(tables.start_offsets(self._connection, self._study))
        stored = TRIALS.c.datetime_start
        cases = [
            (TRIALS.c.number.between(first, last), sa.null() if offset is None else _earlier(stored, offset))
            for first, last, offset in offsets
        ]
        return sa.case(*cases, else_=stored) if cases else stored

    def _accuracy(self) -> Number:
        """The objective of that name; in a study without one, the last of the curve, which is of the accuracy."""
        if "accuracy" in self._objective_names:
            return self._final("accuracy")
        value = _decoded(CURVES.c.intermediate_value, CURVES.c.intermediate_value_type)
        last_step = sa.select(sa.func.max(_LATER.c.step)).where(_LATER.c.trial_id == TRIALS.c.trial_id)
        last = CURVES.c.step == last_step.correlate(TRIALS).scalar_subquery()
        return sa.case((is_state("COMPLETE"), _of_trial(CURVES, value, last)))

    def _cost(self, name: str) -> Number:
        """What was recorded, or else the objective of that name, if it is a number."""
        written = TRIAL_ATTRIBUTES.c.value_json
        count = sa.case((written.regexp_match("^-?[0-9]+$"), sa.cast(written, sa.Double())))
        recorded = _attribute(name, count)
        if name not in self._objective_names:
            return recorded
        value = self._final(name)
        finite = sa.func.abs(value) < sa.literal(inf, sa.Double())
        return sa.func.coalesce(recorded, sa.case((finite, value)))

    def _objective(self, name: str) -> Value | None:
        return Value(self._final(name)) if name in self._objective_names else None

    def _final(self, objective: str) -> Number:
        value = _decoded(VALUES.c.value, VALUES.c.value_type)
        index = self._objective_names.index(objective)
        return sa.case((is_state("COMPLETE"), _of_trial(VALUES, value, VALUES.c.objective == index)))

    def _parameter(self, name: str) -> Value | None:
        drawn_from = tables.choices(self._connection, self._study, name)
        if drawn_from is None:
            return None
        value, named = _parameter_value(drawn_from), PARAMETERS.c.param_name == name
        return Value(
            *(None if kind is None else _of_trial(PARAMETERS, kind, named) for kind in (value.number, value.text))
        )

    @cached_property
    def _parameter_names(self) -> list[str]:
        return tables.parameter_names(self._connection, self._study)

    def _unknown(self, name: str) -> InputError:
        if name in STATES or name in self._choices:
            return InputError(f"unknown column '{name}': if it is meant as a text, write it in quotes, '{name}'")
        return unknown_column(name, [*COLUMNS, *self._objective_names, *self._parameter_names])

    @cached_property
    def _choices(self) -> set[str]:
        """The texts that a parameter of the study may be."""
        drawn_from = tables.distributions(self._connection, self._study)
        found = (json.loads(text)["attributes"].get("choices", ()) for texts in drawn_from.values() for text in texts)
        return {choice for choices in found for choice in choices if isinstance(choice, str)}


def unknown_column(name: str, choices: Iterable[str]) -> InputError:
    """An error for a name that no column, objective or parameter has, with the nearest one suggested."""
    known = dict.fromkeys(choices)
    meant = [_HEADINGS.get(name.lower()), *(choice for choice in known if choice.lower() == name.lower())]
    same = next(filter(None, meant), None)
    return InputError(f"unknown column '{name}': did you mean '{same}'?") if same else unknown("column", name, known)


def _of_trial(table: sa.TableClause, wanted: sa.ColumnElement[Any], *row: Truth) -> sa.ColumnElement[Any]:
    """A column of the one row, of a table that belongs to trials, that the trial at hand has."""
    query = sa.select(wanted).select_from(table).where(table.c.trial_id == TRIALS.c.trial_id, *row)
    return query.correlate(TRIALS).scalar_subquery()


def _attribute(key: str, decoded: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return _of_trial(TRIAL_ATTRIBUTES, decoded, TRIAL_ATTRIBUTES.c.key == key)


def _text_attribute(key: str) -> Text:
    # PostgreSQL's texts cannot have the character 0.
    written = sa.func.replace(TRIAL_ATTRIBUTES.c.value_json, "\\u0000", "\\ufffd", type_=sa.Text())
    return _attribute(key, sa.case((written.startswith('"'), JsonString(written))))


def _architecture() -> Value:
    written = TRIAL_ATTRIBUTES.c.value_json
    return Value(text=_attribute("architecture", sa.case((written.like('{%"backbone":%'), written))))


def _earlier(time: sa.ColumnElement[Any], offset: timedelta) -> sa.ColumnElement[Any]:
    return SecondsLater(time, sa.literal(-int(offset.total_seconds()), sa.Integer()))


def _epochs() -> Value:
    last = _of_trial(CURVES, sa.func.max(CURVES.c.step))
    return Value(sa.cast(sa.func.coalesce(last, sa.case((sa.not_(is_state("COMPLETE")), 0))), sa.Double()))


_COLUMNS: dict[str, Callable[[], Value]] = {
    "number": lambda: Value(sa.cast(TRIALS.c.number, sa.Double())),
    "state": lambda: Value(text=sa.cast(TRIALS.c.state, sa.Text())),
    "architecture": _architecture,
    "architecture_id": lambda: Value(text=_text_attribute("architecture_id")),
    "epochs": _epochs,
    "is_baseline": lambda: Value(_as_number(_text_attribute("baseline").is_not(None))),
    "baseline": lambda: Value(text=_text_attribute("baseline")),
    "fail_reason": lambda: Value(text=_text_attribute("fail_reason")),
}


def _decoded(value: Number, kind: sa.ColumnElement[str]) -> Number:
    """Optuna keeps what SQL has no number for as NULL and a kind; what is not a number stays NULL, and so missing."""
    infinite: dict[str, Number] = {"INF_POS": sa.literal(inf, sa.Double()), "INF_NEG": sa.literal(-inf, sa.Double())}
    return sa.func.coalesce(value, sa.case(infinite, value=sa.cast(kind, sa.Text())))


def _parameter_value(drawn_from: Mapping[str, Sequence[Any] | None]) -> Value:
    """The value of a parameter's row.

    Optuna keeps a number as it is, and of a choice the index. The choices are the same in all trials of a study,
    which Optuna sees to; rows that came to the DB by other ways are told apart by their distributions.
    """
    choices = {text: options for text, options in drawn_from.items() if options is not None}
    ranges = len(choices) < len(drawn_from)
    kept = PARAMETERS.c.param_value

    def decoded(literals: Callable[[Any], sa.ColumnElement[Any] | None], otherwise: Any) -> Any:
        found = {
            text: {float(i): value for i, option in enumerate(options) if (value := literals(option)) is not None}
            for text, options in choices.items()
        }
        if not choices or (otherwise is None and not any(found.values())):
            return otherwise
        cases = [
            (PARAMETERS.c.distribution_json == text, sa.case(by_index, value=kept) if by_index else sa.null())
            for text, by_index in found.items()
        ]
        return cases[0][1] if len(drawn_from) == 1 else sa.case(*cases, else_=otherwise)

    return Value(decoded(_number_literal, kept if ranges else None), decoded(_text_literal, None))


def _number_literal(option: Any) -> Number | None:
    is_number = isinstance(option, int | float) and not isnan(option)
    return sa.literal(float(option), sa.Double()) if is_number else None


def _text_literal(option: Any) -> Text | None:
    return sa.literal(option, sa.Text()) if isinstance(option, str) else None


def _as_number(truth: Truth) -> Number:
    return sa.case((truth, sa.literal(1.0, sa.Double())), else_=sa.literal(0.0, sa.Double()))


def _raise(error: InputError) -> NoReturn:
    raise error
