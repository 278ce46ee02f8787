"""The language of ``--where``, from text to a tree: ``accuracy > 0.9 and flops < 40e6 and state == 'COMPLETE'``.

It looks like Python with ``like`` added, and is no more than what stands here, the loosest first:

    or          accuracy > 0.9 or is_baseline
    and         accuracy > 0.9 and is_baseline
    not         not is_baseline
    comparison  < <= > >= == !=, in, not in, like, not like, is None, is not None; chained: 0.5 < accuracy <= 0.9
    sum         flops + params, flops - params
    product     flops / params, 2 * flops
    minus       -flops
    name        accuracy, layer1.0.ratio, params['layer1.0.ratio'], objectives['latency']
    constant    40e6, 'COMPLETE', True, False, None, and lists of such in (...) or [...]

An expression is read, never run.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from search_space.errors import InputError

# More than anyone types, and few enough for SQLite: its parser keeps up to 100 open brackets in mind, and takes
# expressions of up to 1000 levels.
_MOST_OPERATORS = 200
_MOST_SIGNS = 20
_DEEPEST = 20

_CONSTANTS: dict[str, float | None] = {"True": 1.0, "False": 0.0, "None": None}
_COMPARATORS = ("<", "<=", ">", ">=", "==", "!=", "in", "like", "is")
_TWO_WORDS = (("not", "in"), ("not", "like"), ("is", "not"))
_CLOSING = {"(": ")", "[": "]"}
_ARITHMETIC = "+-*/"
_PUNCTUATION = "()[],"
_WORDS = ("and", "or", "not", "in", "is", "like", *_CONSTANTS)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_SPECIAL = re.compile(r"[\\'\n\t\r]")
_HINTS = {
    "=": "to compare, write ==",
    "'": "this text has no end",
    '"': "this text has no end",
    "&": "write 'and'",
    "|": "write 'or'",
    "!": "write 'not', or != to compare",
}
_NO_CHARACTER = re.compile("[\ud800-\udfff]")
"""What Python makes of an argument's bytes that are not UTF-8."""
_NAME = r"[^\W\d]\w*(?:\.\w+)*"
_TOKEN = re.compile(
    rf"""
        (?P<space>  \s+)
      | (?P<number> (?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<name>   {_NAME})
      | (?P<text>   '(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
      | (?P<sign>   <=|>=|==|!=|[-<>+*/()\[\],])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Node:
    """A part of an expression; ``at`` is the index of its first character."""

    at: int


@dataclass(frozen=True)
class Constant(Node):
    """A number (True and False are 1 and 0), a text, or None."""

    value: float | str | None


@dataclass(frozen=True)
class Constants(Node):
    """A list of constants."""

    members: tuple[Constant, ...]


@dataclass(frozen=True)
class Name(Node):
    """A name, or one that is looked up in a group: ``params['lr']``."""

    name: str
    group: str | None = None


@dataclass(frozen=True)
class Arithmetic(Node):
    """``left + right``, or with another of + - * /."""

    left: Node
    sign: str
    right: Node


@dataclass(frozen=True)
class Comparison(Node):
    """``left < right``, or with another comparator."""

    left: Node
    comparator: str
    right: Node


@dataclass(frozen=True)
class Not(Node):
    """What holds where the operand does not."""

    operand: Node


@dataclass(frozen=True)
class Every(Node):
    """Terms that all have to hold."""

    terms: tuple[Node, ...]


@dataclass(frozen=True)
class Some(Node):
    """Terms of which one has to hold."""

    terms: tuple[Node, ...]


def parse(expression: str) -> Node:
    """The tree of an expression.

    Raises:
        InputError: it is not in the language; the message says at which column, from 1.
    """
    if not expression.strip():
        raise InputError("the expression is empty: write one such as accuracy > 0.9")
    return _Parser(expression).whole()


def wrong(expression: str, at: int, reason: object) -> InputError:
    """What is wrong at the index of a character, told in one line."""
    rest = expression[at:].strip()
    here = f"column {at + 1}, `{_short(rest)}`" if rest else "its end"
    return InputError(f"in `{_short(expression)}` at {here}: {reason}")


def parse_name(text: str) -> Name:
    """A name alone, such as ``accuracy`` or ``params['lr']``.

    Raises:
        InputError: it is something else.
    """
    if not text.strip():
        raise InputError("the name of a column is empty: write one such as accuracy")
    tree = parse(text)
    if not isinstance(tree, Name):
        raise InputError(f"`{_short(text)}` is no name of a column, such as accuracy, or of a parameter")
    return tree


def split_names(text: str) -> list[str]:
    """Names with commas between them: ``number, params['a,b']``.

    Raises:
        InputError: one of them is empty, or a text in one has no end.
    """
    if not text.strip():
        raise InputError("no column is named: write some, such as number,accuracy")
    commas = [token.at for token in _tokens(text) if (token.kind, token.text) == ("sign", ",")]
    names = []
    for before, end in pairwise([-1, *commas, len(text)]):
        names.append(text[before + 1 : end].strip())
        if not names[-1]:
            raise wrong(text, end, "expected the name of a column")
    return names


def written(name: str, group: str, taken: Collection[str]) -> str:
    """A name as an expression has it: by itself if that can be and is not something else's, or else in its group."""
    plain = re.fullmatch(_NAME, name) is not None and name not in _WORDS and name not in taken
    return name if plain else f"{group}['{_SPECIAL.sub(_escaped, name)}']"


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Parser:
    """Recursive descent, with a method for each line of the table above."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = list(_tokens(expression))
        self._next = 0
        self._operators = 0
        self._signs = 0
        self._depth = 0

    def whole(self) -> Node:
        tree = self._or()
        if self._token.kind != "end":
            raise self._unexpected("an operator such as == or and")
        return tree

    def _or(self) -> Node:
        terms = [self._and()]
        while self._take("or"):
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else Some(terms[0].at, tuple(terms))

    def _and(self) -> Node:
        terms = [self._not()]
        while self._take("and"):
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else Every(terms[0].at, tuple(terms))

    def _not(self) -> Node:
        at = self._token.at
        return Not(at, self._nested(self._not)) if self._take("not") else self._comparison()

    def _comparison(self) -> Node:
        first = left = self._sum()
        links: list[Node] = []
        while comparator := self._comparator():
            right = self._sum()
            links.append(Comparison(left.at, left, comparator, right))
            left = right
        return first if not links else links[0] if len(links) == 1 else Every(first.at, tuple(links))

    def _comparator(self) -> str | None:
        for first, second in _TWO_WORDS:
            if self._token.text == first and self._tokens[self._next + 1].text == second:
                self._take(first)
                self._take(second)
                return f"{first} {second}"
        return next((word for word in _COMPARATORS if self._take(word)), None)

    def _sum(self) -> Node:
        left = self._product()
        while sign := self._take("+") or self._take("-"):
            left = Arithmetic(left.at, left, sign, self._product())
        return left

    def _product(self) -> Node:
        left = self._minus()
        while sign := self._take("*") or self._take("/"):
            left = Arithmetic(left.at, left, sign, self._minus())
        return left

    def _minus(self) -> Node:
        at = self._token.at
        if not self._take("-"):
            return self._atom()
        operand = self._nested(self._minus)
        if isinstance(operand, Constant) and isinstance(operand.value, float):
            return Constant(at, -operand.value)
        return Arithmetic(at, Constant(at, 0.0), "-", operand)

    def _atom(self) -> Node:
        token = self._token
        match token:
            case _Token("number", text, at):
                self._next += 1
                return Constant(at, float(text))
            case _Token("text", text, at):
                self._next += 1
                return Constant(at, _unquoted(text))
            case _Token("name", text, at) if text in _CONSTANTS:
                self._next += 1
                return Constant(at, _CONSTANTS[text])
            case _Token("name", text, at) if text not in _WORDS:
                self._next += 1
                return self._member(text, at) if self._take("[") else Name(at, text)
            case _Token("sign", "(" | "[" as opening, at):
                self._next += 1
                return self._nested(lambda: self._brackets(opening, at))
        raise self._unexpected("a name, a number or 'text'")

    def _member(self, group: str, at: int) -> Node:
        token = self._token
        if token.kind != "text":
            raise self._unexpected(f"a name in quotes, as in {group}['name']")
        self._next += 1
        self._expect("]")
        return Name(at, _unquoted(token.text), group)

    def _brackets(self, opening: str, at: int) -> Node:
        """What is in brackets: an expression, or a list of constants."""
        closing = _CLOSING[opening]
        if opening == "(" and self._token.text != closing:
            inner = self._or()
            if self._take(closing):
                return inner
            members = [inner]
            if not self._take(","):
                raise self._unexpected(f"'{closing}'")
        else:
            members = []
        while not self._take(closing):
            members.append(self._minus())
            if self._token.text != closing:
                self._expect(",")
        for member in members:
            if not isinstance(member, Constant):
                quotes = f": write '{member.name}'" if isinstance(member, Name) and member.group is None else ""
                raise wrong(self._expression, member.at, f"a list holds numbers and texts alone{quotes}")
        return Constants(at, tuple(member for member in members if isinstance(member, Constant)))

    def _nested(self, part: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise wrong(self._expression, self._token.at, "this is nested too deeply")
        inner = part()
        self._depth -= 1
        return inner

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, text: str) -> str | None:
        """The token, if it is the next one."""
        token = self._token
        if token.text != text or token.kind not in ("name", "sign"):
            return None
        self._next += 1
        self._operators += text not in _PUNCTUATION
        self._signs += text in _ARITHMETIC
        if self._operators > _MOST_OPERATORS or self._signs > _MOST_SIGNS:
            raise wrong(
                self._expression,
                token.at,
                f"an expression has at most {_MOST_OPERATORS} operators, {_MOST_SIGNS} of them + - * /",
            )
        return text

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(f"'{text}'")

    def _unexpected(self, wanted: str) -> InputError:
        # A word that was meant as an operator is a name, and what is unexpected is it or what follows it.
        for token in self._tokens[max(0, self._next - 1) : self._next + 1]:
            if token.kind == "name" and token.text.lower() in _WORDS and token.text not in _WORDS:
                return wrong(self._expression, token.at, f"write '{token.text.lower()}' in small letters")
        return wrong(self._expression, self._token.at, f"expected {wanted}")


def _tokens(expression: str) -> Iterator[_Token]:
    if stray := _NO_CHARACTER.search(expression):
        raise wrong(expression, stray.start(), "this is not UTF-8")
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None or match.lastgroup is None:
            raise wrong(expression, at, _HINTS.get(expression[at], "this is nothing that can be said"))
        if match.lastgroup != "space":
            yield _Token(match.lastgroup, match[0], at)
        at = match.end()
    yield _Token("end", "", at)


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text[1:-1])


def _escaped(match: re.Match[str]) -> str:
    letter = next((letter for letter, special in _ESCAPED.items() if special == match[0]), match[0])
    return f"\\{letter}"


def _short(text: str) -> str:
    text = " ".join(text.encode(errors="backslashreplace").decode().split())
    return text if len(text) <= 60 else f"{text[:57]}..."
