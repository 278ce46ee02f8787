"""From the tree of an expression to SQL.

What a trial does not have is NULL: a comparison with it is false, and not NULL, so that ``not`` means what it says;
arithmetic on it is NULL; only ``is None`` and ``== None`` ask for it. A division by zero and NaN are NULL too. What is
too large for a float is infinite on SQLite, and an error on PostgreSQL and MySQL.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import nan
from typing import Any, TypeVar

import sqlalchemy as sa

from results.query.dialects import ByCodePoints, PositionOf, like
from results.query.language import (
    Arithmetic,
    Comparison,
    Constant,
    Constants,
    Every,
    Name,
    Node,
    Not,
    Some,
    parse,
    parse_name,
    wrong,
)
from results.query.values import Names, Number, Text, Truth, Value
from results.records import STATES
from results.schema import TRIALS
from search_space.errors import InputError, unknown

_N = TypeVar("_N", bound=Node)

_ORDERS: dict[str, Callable[[Any, Any], Truth]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[Number, Number], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / sa.func.nullif(b, _number(0.0)),
}
_UNSORTABLE = ("architecture", "curve")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


def matching(expression: str, names: Names) -> Truth:
    """That an expression holds for a trial.

    Raises:
        InputError: the expression is not in the language, names what there is not, or compares text with a number;
            the message says at which column.
    """
    return _Translation(expression, names).truth(parse(expression))


def order_by(key: str, names: Names) -> list[sa.ColumnElement[Any]]:
    """The order by a name; by ``-name`` from high to low.

    Trials that lack it come last either way, equal ones by number. Where a parameter is text for some and a number for
    others, numbers come first, and last from high to low.

    Raises:
        InputError: nothing has that name, or it has no order.
    """
    descending, name = key.startswith("-"), parse_name(key.removeprefix("-"))
    if name.group is None and name.name in _UNSORTABLE:
        raise InputError(f"trials have no order by {name.name}: sort by a number or a text, such as accuracy")
    value = names.value(name.name, name.group)
    kinds = [value.number, None if value.text is None else ByCodePoints(value.text)]
    present = [kind for kind in (reversed(kinds) if descending else kinds) if kind is not None]
    # One kind after the other: whoever lacks the first comes after those that have it, sorted by the second.
    order = [part for kind in present for part in (kind.is_(None), kind.desc() if descending else kind.asc())]
    return [*order, TRIALS.c.number.asc()]


class _Translation:
    """One expression; whatever is wrong with it is told with its column."""

    def __init__(self, expression: str, names: Names) -> None:
        self._expression = expression
        self._names = names

    def truth(self, node: Node) -> Truth:
        """A node as something that holds or not, and is never NULL."""
        match node:
            case Every(terms=terms):
                return sa.and_(*map(self.truth, terms))
            case Some(terms=terms):
                return sa.or_(*map(self.truth, terms))
            case Not(operand=operand):
                return sa.not_(self.truth(operand))
            case Comparison():
                return self._comparison(node)
        value = self._value(node)
        return _either(
            None if value.number is None else value.number != _number(0.0),
            None if value.text is None else value.text != _text(""),
        )

    def _comparison(self, node: Comparison) -> Truth:
        comparator = node.comparator.removeprefix("not ")
        if comparator in ("is", "is not", "==", "!=") and (_is_none(node.left) or _is_none(node.right)):
            missing = _missing(self._value(node.left if _is_none(node.right) else node.right))
            return missing if comparator in ("is", "==") else sa.not_(missing)
        match comparator:
            case "in":
                found = self._contained(node)
            case "like":
                found = self._like(node)
            case "is" | "is not":
                raise self._wrong(node, "'is' is for None alone: write ==")
            case _:
                return self._ordered(node)
        return _known(found if comparator == node.comparator else sa.not_(found))

    def _ordered(self, node: Comparison) -> Truth:
        if node.comparator in ("==", "!="):
            self._check_states(node.left, [node.right])
            self._check_states(node.right, [node.left])
        left, right = (
            self._value(self._as_time(one, beside=other))
            for one, other in ((node.left, node.right), (node.right, node.left))
        )
        if not _share_a_kind(left, right):
            raise self._wrong(node, f"{_kind(left)} does not compare with {_kind(right)}")
        if node.comparator != "!=":
            return _compared(left, right, _ORDERS[node.comparator])
        # A number and a text are both there, and differ.
        return sa.and_(sa.not_(_missing(left)), sa.not_(_missing(right)), sa.not_(_compared(left, right, operator.eq)))

    def _contained(self, node: Comparison) -> Truth:
        """Whether it is in a list, on the curve or a part of a text; NULL where it is missing, or the text is."""
        if _is_none(node.left):
            raise self._wrong(node, "None is in nothing: ask by 'is None'")
        match node.right:
            case Constants(members=members):
                self._check_states(node.left, members)
                meant = [self._as_time(member, beside=node.left) for member in members]
                return self._among(node, self._value(node.left), meant)
            case Name(name="curve", group=None):
                number = self._number(node.left)
                return sa.case((number.is_not(None), self._names.curve_has(number)))
        part, whole = self._value(node.left).text, self._value(node.right).text
        if part is None or whole is None:
            raise self._wrong(
                node.right, "'in' asks for a list, such as (2, 4), for the curve, or for a part of a text"
            )
        return PositionOf(part, whole) > 0

    def _among(self, node: Node, value: Value, members: Sequence[Constant]) -> Truth:
        numbers: list[Any] = [_number(member.value) for member in members if isinstance(member.value, float)]
        texts: list[Any] = [_text(member.value) for member in members if isinstance(member.value, str)]
        if members and not _share_a_kind(value, Value(numbers[0] if numbers else None, texts[0] if texts else None)):
            raise self._wrong(node, f"{_kind(value)} is in no list of {'numbers' if numbers else 'texts'}")
        # Of an empty list SQL says that even NULL is not in it.
        cases = [
            (kind.is_not(None), kind.in_(group))
            for kind, group in ((value.number, numbers), (value.text, texts))
            if kind is not None
        ]
        return sa.case(*cases)

    def _like(self, node: Comparison) -> Truth:
        text, pattern = self._value(node.left).text, node.right
        if text is None or not isinstance(pattern, Constant) or not isinstance(pattern.value, str):
            raise self._wrong(node, "'like' compares a text with a pattern in quotes, such as 'ab%'")
        return like(text, pattern.value)

    def _value(self, node: Node) -> Value:
        match node:
            case Constant(value=float() as number):
                return Value(_number(number))
            case Constant(value=str() as text):
                return Value(text=_text(text))
            case Constant():
                return Value()
            case Name(name=name, group=group):
                try:
                    return self._names.value(name, group)
                except InputError as error:
                    raise self._wrong(node, error) from None
            case Arithmetic():
                return Value(sa.func.nullif(self._computed(node), _number(nan), type_=sa.Double()))
            case Constants():
                raise self._wrong(node, "a list is for 'in' alone, as in number in (1, 2)")
        raise self._wrong(node, "what holds or not is no value: join such by 'and', 'or' and 'not'")

    def _computed(self, node: Node) -> Number:
        """The number that arithmetic comes to, which may be NaN."""
        if isinstance(node, Arithmetic):
            return _ARITHMETIC[node.sign](self._computed(node.left), self._computed(node.right))
        return self._number(node)

    def _number(self, node: Node) -> Number:
        value = self._value(node)
        if value.number is None:
            raise self._wrong(node, f"this is {_kind(value)}, and a number is wanted")
        return value.number

    def _check_states(self, left: Node, right: Sequence[Node]) -> None:
        """A misspelt state would silently be no trial's."""
        if isinstance(left, Name) and (left.name, left.group) == ("state", None):
            for node in right:
                if isinstance(node, Constant) and node.value is not None and node.value not in STATES:
                    raise self._wrong(node, unknown("state", node.value, STATES))

    def _as_time(self, node: _N, *, beside: Node) -> _N:
        """A text that is compared with ``started``, as that has it; anything else as it is."""
        if not (isinstance(beside, Name) and (beside.name, beside.group) == ("started", None)):
            return node
        if not (isinstance(node, Constant) and isinstance(node.value, str)):
            return node
        time = _in_utc(node.value)
        if time is None:
            raise self._wrong(node, "this is no time: write it as '2026-03-01' or '2026-03-01 12:30:00', in UTC")
        return replace(node, value=time)

    def _wrong(self, node: Node, reason: object) -> InputError:
        return wrong(self._expression, node.at, reason)


def _compared(left: Value, right: Value, comparison: Callable[[Any, Any], Truth]) -> Truth:
    """That two numbers or two texts compare so."""
    return _either(
        None if left.number is None or right.number is None else comparison(left.number, right.number),
        None if left.text is None or right.text is None else comparison(ByCodePoints(left.text), right.text),
    )


def _either(*truths: Truth | None) -> Truth:
    return sa.or_(sa.false(), *(_known(truth) for truth in truths if truth is not None))


def _known(truth: Truth) -> Truth:
    return sa.func.coalesce(truth, sa.false(), type_=sa.Boolean())


def _missing(value: Value) -> Truth:
    return sa.and_(sa.true(), *(kind.is_(None) for kind in (value.number, value.text) if kind is not None))


def _share_a_kind(a: Value, b: Value) -> bool:
    return (a.number is not None and b.number is not None) or (a.text is not None and b.text is not None)


def _is_none(node: Node) -> bool:
    return isinstance(node, Constant) and node.value is None


def _kind(value: Value) -> str:
    match value:
        case Value(number=None, text=None):
            return "None"
        case Value(number=None):
            return "a text"
        case Value(text=None):
            return "a number"
    return "a number or a text"


def _in_utc(text: str) -> str | None:
    """A time as ``started`` has it; None if the text is none."""
    if not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text)
        return (time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
    except (ValueError, OverflowError):  # the 30th of February, or a moment before the year 1
        return None


def _number(value: float) -> Number:
    return sa.literal(value, sa.Double())


def _text(value: str) -> Text:
    return sa.literal(value, sa.Text())
