"""Python expressions as trees: how they read on one line, and how they are broken where that is too long."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from search_space.errors import InputError

WIDTH = 120


@dataclass(frozen=True)
class Text:
    """What is written as it stands: a name, an attribute, an operator."""

    text: str


@dataclass(frozen=True)
class Number:
    """A number, which may differ among the instances of a class; ``hint`` is what it would be called."""

    text: str
    hint: str = field(compare=False)


@dataclass(frozen=True)
class Joined:
    """Parts one after another: ``a + b``, ``x.shape``."""

    parts: "tuple[Expression, ...]"


@dataclass(frozen=True)
class Group:
    """Items between brackets, which can be broken: calls, tuples, lists, dictionaries.

    Each item has what stands before it: ``stride=``, ``"key": `` or nothing. ``made`` is the constructor that a call
    is of, if it makes a module.
    """

    head: "Expression"
    items: "tuple[tuple[str, Expression], ...]"
    brackets: str = "()"
    trailing: str = ""


@dataclass(frozen=True)
class Value:
    """A value that has no name yet: the node of the graph that makes it, or a parameter of a class."""

    of: Any


@dataclass(frozen=True)
class Repeat:
    """The same again and again within a call: ``*(Block(16) for _ in range(3))``."""

    of: "Expression"
    times: int

    @property
    def clause(self) -> str:
        """What follows the expression."""
        return f"for _ in range({self.times})"


Expression = Text | Number | Value | Joined | Group | Repeat


def call(head: "str | Expression", *args: Expression, **named: Expression) -> Group:
    """A call of what the head says."""
    items = (*(("", arg) for arg in args), *((f"{name}=", value) for name, value in named.items()))
    return Group(Text(head) if isinstance(head, str) else head, items)


def joined(*parts: "str | Expression") -> Joined:
    """Parts one after another."""
    return Joined(tuple(Text(part) if isinstance(part, str) else part for part in parts))


def quoted(text: str) -> str:
    """A text as a literal in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def literal(value: Any, hint: str, inner: Callable[[Any], Expression | None] = lambda _: None) -> Expression:
    """A value as an expression; ``inner`` may answer for values of its own within.

    Raises:
        InputError: the value has no literal.
    """
    known = inner(value)
    if known is None:
        writer = next((write for kinds, write in _LITERALS if isinstance(value, kinds)), None)
        if writer is None:
            raise InputError(f"the constant {value!r} cannot be written as Python")
        known = writer(value, hint, lambda item: literal(item, hint, inner))
    return known


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else f"float({quoted(str(value))})"


def _sequence(value: tuple[Any, ...] | list[Any], _hint: str, inner: Callable[[Any], Expression]) -> Expression:
    items = tuple(("", inner(item)) for item in value)
    if isinstance(value, list):
        return Group(Text(""), items, "[]")
    return Group(Text(""), items, "()", "," if len(items) == 1 else "")


def _mapping(value: dict[Any, Any], _hint: str, inner: Callable[[Any], Expression]) -> Expression:
    return Group(Text(""), tuple((f"{one_line(inner(key))}: ", inner(item)) for key, item in value.items()), "{}")


_LITERALS: tuple[tuple[tuple[type, ...], Callable[..., Expression]], ...] = (
    ((bool, type(None)), lambda value, *_: Text(str(value))),
    ((type(...),), lambda *_: Text("...")),
    ((str,), lambda value, *_: Text(quoted(value))),
    ((int, float), lambda value, hint, _: Number(_number(value), hint)),
    ((tuple, list), _sequence),
    ((dict,), _mapping),
    ((slice,), lambda value, _, inner: call("slice", *(inner(x) for x in (value.start, value.stop, value.step)))),
    ((torch.device,), lambda value, *_: call("torch.device", Text(quoted(str(value))))),
    ((torch.dtype, torch.memory_format, torch.layout), lambda value, *_: Text(str(value))),
)
"""How the values of some types are written: from the value, what it would be called, and how values in it are."""


def one_line(expression: Expression, of_number: Callable[[Number], str] = lambda number: number.text) -> str:
    """An expression on one line; ``of_number`` says how its numbers are written."""
    if isinstance(expression, Text):
        return expression.text
    if isinstance(expression, Number):
        return of_number(expression)
    if isinstance(expression, Value):
        return "out"
    if isinstance(expression, Repeat):
        return f"*({one_line(expression.of, of_number)} {expression.clause})"
    if isinstance(expression, Joined):
        return "".join(one_line(part, of_number) for part in expression.parts)
    inner = ", ".join(prefix + one_line(item, of_number) for prefix, item in expression.items)
    opening, closing = expression.brackets[0], expression.brackets[1]
    return one_line(expression.head, of_number) + opening + inner + expression.trailing + closing


def broken(expression: Expression, indent: int, prefix: str = "", suffix: str = "") -> Iterator[str]:
    """The lines of an expression between a prefix and a suffix, each no longer than WIDTH where it can be broken."""
    pad = " " * indent
    whole = f"{pad}{prefix}{one_line(expression)}{suffix}"
    if len(whole) <= WIDTH or not isinstance(expression, Group | Repeat):
        yield whole
    elif isinstance(expression, Repeat):
        yield f"{pad}{prefix}*("
        inner = f"{pad}    {one_line(expression.of)} {expression.clause}"
        yield from [inner] if len(inner) <= WIDTH else broken(expression.of, indent + 4)
        if len(inner) > WIDTH:
            yield f"{pad}    {expression.clause}"
        yield f"{pad}){suffix}"
    else:
        yield from _broken_group(expression, indent, prefix, suffix)


def _broken_group(expression: Group, indent: int, prefix: str, suffix: str) -> Iterator[str]:
    pad = " " * indent
    opening, closing = expression.brackets[0], expression.brackets[1]
    yield f"{pad}{prefix}{one_line(expression.head)}{opening}"
    inner = f"{pad}    " + ", ".join(before + one_line(item) for before, item in expression.items) + expression.trailing
    alone = len(expression.items) == 1 and not expression.trailing
    if len(inner) <= WIDTH and expression.brackets == "()" and one_line(expression.head):
        yield inner
    else:
        for before, item in expression.items:
            yield from broken(item, indent + 4, before, "" if alone and expression.brackets == "()" else ",")
    yield f"{pad}{closing}{suffix}"


def leaves(expression: Expression) -> Iterator[Expression]:
    """The texts, numbers and values of an expression, in the order of reading."""
    if isinstance(expression, Repeat):
        yield from leaves(expression.of)
    elif isinstance(expression, Joined):
        for part in expression.parts:
            yield from leaves(part)
    elif isinstance(expression, Group):
        yield from leaves(expression.head)
        for _, item in expression.items:
            yield from leaves(item)
    else:
        yield expression


def replaced(expression: Expression, by: Callable[[Any], Expression]) -> Expression:
    """An expression with other expressions in the place of its values."""
    if isinstance(expression, Value):
        return by(expression.of)
    if isinstance(expression, Repeat):
        return Repeat(replaced(expression.of, by), expression.times)
    if isinstance(expression, Joined):
        return Joined(tuple(replaced(part, by) for part in expression.parts))
    if isinstance(expression, Group):
        items = tuple((prefix, replaced(item, by)) for prefix, item in expression.items)
        return Group(replaced(expression.head, by), items, expression.brackets, expression.trailing)
    return expression


def calls(expression: Expression) -> int:
    """How many calls an expression makes."""
    if isinstance(expression, Joined):
        return sum(map(calls, expression.parts))
    if not isinstance(expression, Group):
        return 0
    itself = expression.brackets == "()" and one_line(expression.head) != ""
    return int(itself) + calls(expression.head) + sum(calls(item) for _, item in expression.items)
