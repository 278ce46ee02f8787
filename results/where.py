"""A small language to filter and sort trials: ``accuracy > 0.9 and flops < 40e6 and state == 'COMPLETE'``.

It has the syntax of Python and the columns of :meth:`TrialRecord.to_json`. Its parts are the ones matched below, and
nothing that is not listed there can be said: an expression is walked, never run.

What a trial does not have is missing: a comparison with it is False, arithmetic on it is missing too, and only
``is None`` and ``== None`` ask for it. Parameters go by their own names, dotted as they are
(``layer1.0.ratio == 8``), or by ``params['layer1.0.ratio']``.
"""

import ast
import operator
import re
from collections.abc import Callable, Collection
from functools import cmp_to_key
from math import isnan
from typing import Any

from results.records import STATES, TrialRecord
from search_space.errors import InputError, unknown

Predicate = Callable[[TrialRecord], bool]
Value = Any
_Getter = Callable[[TrialRecord], Value]

_COLUMNS: dict[str, _Getter] = {
    "number": lambda trial: trial.number,
    "state": lambda trial: trial.state,
    "architecture": lambda trial: trial.to_json()["architecture"],
    "architecture_id": lambda trial: trial.architecture_id,
    "accuracy": lambda trial: trial.accuracy,
    "flops": lambda trial: trial.flops,
    "params": lambda trial: trial.params,
    "epochs": lambda trial: trial.epochs,
    "duration_s": lambda trial: trial.duration_s,
    "started": lambda trial: trial.started and trial.started.isoformat(),
    "is_pareto": lambda trial: trial.is_pareto,
    "is_baseline": lambda trial: trial.is_baseline,
    "baseline": lambda trial: trial.baseline,
    "curve": lambda trial: trial.curve,
    "fail_reason": lambda trial: trial.fail_reason,
}
_UNSORTABLE = ("architecture", "curve")

_COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda member, group: member in group,
    ast.NotIn: lambda member, group: member not in group,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_PRESENCE: dict[type[ast.cmpop], bool] = {ast.Is: False, ast.Eq: False, ast.IsNot: True, ast.NotEq: True}

_STRING_OR_DOTTED_NAME = re.compile(
    r"""(?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?<![\w.])[^\W\d]\w*(?:\.\w+)+"""
)
# Python's parser takes no name such as layer1.0.ratio. This letter stands in for the dot: it is one that Python
# allows in names and nobody types, and as long as a dot, so that positions in errors stay right.
_DOT = "\u01c0"


def parse(expression: str, parameters: Collection[str] | None = None) -> Predicate:
    """The expression as a test of a trial.

    Args:
        expression: such as ``accuracy > 0.9 and layer3.position == 'pre'``.
        parameters: the names of the study's parameters, to tell a typo from a parameter that a trial lacks.
            Without them any dotted name may be a parameter.

    Returns:
        A test, which raises an InputError when it comes to compare text with a number.

    Raises:
        InputError: the expression is not in the language; the message says where, or names the column.
    """
    source = expression.strip().replace("\n", " ")
    if not source:
        raise InputError("the expression is empty: write one such as accuracy > 0.9")
    dotless = _STRING_OR_DOTTED_NAME.sub(_without_dots, source)
    try:
        tree = ast.parse(dotless, mode="eval")
        value = _Compiler(dotless, parameters).value(tree.body)
    except SyntaxError as error:
        raise InputError(_syntax_error(source, error)) from None
    except (RecursionError, MemoryError):
        raise InputError(f"cannot read {_quoted(source)}: it is nested too deeply") from None
    return lambda trial: bool(value(trial))


def sort_key(name: str, parameters: Collection[str] | None = None) -> Callable[[TrialRecord], Any]:
    """A key for :func:`sorted` by a column or parameter; ``-accuracy`` sorts from high to low.

    Trials that lack it come last either way. Where a parameter is text for some and a number for others, numbers
    come first.

    Args:
        name: a column or parameter, with a leading minus for the opposite order.
        parameters: as in :func:`parse`.

    Raises:
        InputError: there is no such column or parameter, or it has no order.
    """
    column = name.removeprefix("-")
    if column in _UNSORTABLE:
        raise InputError(f"trials have no order by {column}: sort by one of {', '.join(_sortable())}")
    getter = _getter(column, parameters)
    descending = name.startswith("-")

    def key(trial: TrialRecord) -> tuple[bool, Any]:
        value = getter(trial)
        if value is None or (isinstance(value, float) and isnan(value)):
            return True, 0
        ordered = (isinstance(value, str), value)
        return False, _descending(ordered) if descending else ordered

    return key


_descending = cmp_to_key(lambda a, b: (b > a) - (b < a))  # type: ignore[operator]


class _Compiler:
    """Turns the nodes of an expression into functions of a trial; what has no method here is not allowed."""

    def __init__(self, source: str, parameters: Collection[str] | None) -> None:
        self._source = source
        self._parameters = parameters

    def value(self, node: ast.expr) -> _Getter:  # noqa: PLR0911 - a construct of the language a line
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as constant):
                return lambda trial: constant
            case ast.Name(id=name):
                return _getter(name.replace(_DOT, "."), self._parameters)
            case ast.Subscript(value=ast.Name(id="params"), slice=ast.Constant(value=str(name))):
                return _parameter(name, self._parameters)
            case ast.Tuple(elts=nodes) | ast.List(elts=nodes) | ast.Set(elts=nodes):
                members = [self.value(member) for member in nodes]
                return lambda trial: [member(trial) for member in members]
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.value(operand)
                return lambda trial: not inner(trial)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._arithmetic(node, operator.sub, ast.Constant(0), operand)
            case ast.BoolOp(op=ast.And(), values=nodes):
                terms = [self.value(term) for term in nodes]
                return lambda trial: all(term(trial) for term in terms)
            case ast.BoolOp(values=nodes):
                terms = [self.value(term) for term in nodes]
                return lambda trial: any(term(trial) for term in terms)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                return self._arithmetic(node, _ARITHMETIC[type(op)], left, right)
            case ast.Compare(left=left, ops=ops, comparators=rights):
                lefts = [left, *rights[:-1]]
                links = [self._comparison(node, *link) for link in zip(lefts, ops, rights, strict=True)]
                return lambda trial: all(link(trial) for link in links)
        raise InputError(
            f"{self._text(node)} cannot be said here: there are columns, parameters, numbers and 'text'; "
            "comparisons and in; and, or, not; + - * /"
        )

    def _comparison(self, node: ast.expr, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Getter:
        first, second = self.value(left), self.value(right)
        if type(op) in _PRESENCE and any(_is_none(side) for side in (left, right)):
            asked, present = (first if _is_none(right) else second), _PRESENCE[type(op)]
            return lambda trial: (asked(trial) is not None) is present
        if type(op) not in _COMPARISONS:
            raise InputError(f"{self._text(node)} compares by 'is', which is for None alone: write ==")
        if type(op) in (ast.Eq, ast.NotEq) or (type(op) in (ast.In, ast.NotIn) and _is_list(right)):
            _check_state(left, right)
        compare = _COMPARISONS[type(op)]

        def compared(trial: TrialRecord) -> bool:
            a, b = first(trial), second(trial)
            if a is None or b is None:
                return False
            try:
                return bool(compare(a, b))
            except TypeError:
                raise self._misfit(node, a, b) from None

        return compared

    def _arithmetic(
        self, node: ast.expr, operation: Callable[[Value, Value], Value], left: ast.expr, right: ast.expr
    ) -> _Getter:
        first, second = self.value(left), self.value(right)

        def computed(trial: TrialRecord) -> Value:
            a, b = first(trial), second(trial)
            if a is None or b is None:
                return None
            if not (isinstance(a, int | float) and isinstance(b, int | float)):
                raise self._misfit(node, a, b)
            try:
                return operation(a, b)
            except ArithmeticError:
                return None

        return computed

    def _misfit(self, node: ast.expr, a: Value, b: Value) -> InputError:
        return InputError(f"{self._text(node)} does not work between {_kind(a)} and {_kind(b)}")

    def _text(self, node: ast.expr) -> str:
        return _quoted(ast.get_source_segment(self._source, node) or ast.unparse(node))


def _getter(name: str, parameters: Collection[str] | None) -> _Getter:
    """What a name stands for: a column, or else a parameter."""
    if name in _COLUMNS:
        return _COLUMNS[name]
    if name in (parameters or ()) or (parameters is None and "." in name):
        return _parameter(name, parameters)
    if name in STATES:
        raise InputError(f"unknown column '{name}': a state is text, so write it in quotes, '{name}'")
    raise unknown("column", name, [*_COLUMNS, *(parameters or ())])


def _parameter(name: str, parameters: Collection[str] | None) -> _Getter:
    if parameters is not None and name not in parameters:
        raise unknown("parameter", name, parameters)
    return lambda trial: trial.parameters.get(name)


def _check_state(left: ast.expr, right: ast.expr) -> None:
    """A misspelt state would silently be no trial's."""
    match left, right:
        case ast.Name(id="state"), ast.Tuple(elts=nodes) | ast.List(elts=nodes) | ast.Set(elts=nodes):
            named = nodes
        case (ast.Name(id="state"), node) | (node, ast.Name(id="state")):
            named = [node]
        case _:
            return
    for node in named:
        if isinstance(node, ast.Constant) and node.value not in STATES:
            raise unknown("state", node.value, STATES)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_list(node: ast.expr) -> bool:
    return isinstance(node, ast.Tuple | ast.List | ast.Set)


def _without_dots(match: re.Match[str]) -> str:
    return match[0] if match["string"] else match[0].replace(".", _DOT)


def _syntax_error(source: str, error: SyntaxError) -> str:
    # At the end of the expression Python names no column.
    rest = source[error.offset - 1 :] if error.offset else ""
    where = f"at {_quoted(rest)}" if rest else "at its end"
    reason = "to compare, write ==" if rest.startswith("=") else error.msg
    return f"cannot read {_quoted(source)} {where}: {reason}"


def _quoted(text: str) -> str:
    text = text.replace(_DOT, ".")
    return f"`{text if len(text) <= 80 else text[:77] + '...'}`"


def _kind(value: Value) -> str:
    if isinstance(value, str):
        return "text"
    return "a number" if isinstance(value, int | float) else "a list"


def _sortable() -> list[str]:
    return [name for name in _COLUMNS if name not in _UNSORTABLE]
