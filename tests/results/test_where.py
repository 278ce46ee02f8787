"""The language of --where and --sort: what the database finds is what a walk over the records finds."""

import math
import operator
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from results import Study, TrialRecord, open_study
from results.query.language import (
    Arithmetic,
    Comparison,
    Constant,
    Every,
    Name,
    Node,
    Not,
    Some,
    parse,
    parse_name,
    split_names,
    written,
)
from results.records import STATES
from search_space.errors import InputError

ODD_TEXTS = [
    "",
    "CUDA out of memory",
    'it\'s "odd"',
    "100%_*?[a]",
    "Zürich\n\\u",
    "none",
    "Pre",
    "pre",
    "8",
    "!",
    "ß😀",
]
ODD_NUMBERS = [0.0, 0.1, 0.5, 0.9, 1.0, 2.0, 4.0, 8.0, 100.0, 1e7, -1.0, math.inf, -math.inf, 2.0**60]
POSITIONS = ("none", "pre", "Pre", "post")
MIXED = (None, True, 2, 4, 8, 0.5, "none", "8", "ß😀")


def write(url: str, seed: int) -> None:
    """A study with every state, missing and odd values, as Optuna writes it."""
    draw = random.Random(seed)
    storage = RDBStorage(url)
    if url.startswith("sqlite"):
        sa.event.listen(storage.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        storage.engine.dispose()
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]
    study = storage.create_new_study(directions, "odd")
    storage.set_study_system_attr(study, "study:metric_names", ["accuracy", "latency", "flops"])
    start = datetime(2025, 3, 1)
    for _ in range(36):
        state = draw.choice(list(TrialState))
        begun, ended = state != TrialState.WAITING, state.is_finished()
        begin = start + timedelta(seconds=draw.randrange(9), microseconds=draw.choice([0, 1, 999_999, 123_456]))
        parameters = {
            "layer1.position": (draw.choice(POSITIONS), CategoricalDistribution(POSITIONS)),
            "mixed": (draw.choice(MIXED), CategoricalDistribution(MIXED)),
            "count": (draw.randrange(1, 9), IntDistribution(1, 8, log=True)),
            "rate": (draw.choice([0.0, 0.1, 0.5]), FloatDistribution(0.0, draw.choice([1.0, 2.0]))),
            "flops": (draw.randrange(3), IntDistribution(0, 2)),
        }
        kept = {name: pair for name, pair in parameters.items() if draw.random() < 0.8}
        attributes = {
            "architecture_id": draw.choice(["c0ffee", "C0FFEE", "beef", 7]),
            "flops": draw.choice([0, 100, 10**7, 10**12, 1.5, "many", None]),
            "params": draw.choice([1, 2, 100, True]),
            "baseline": draw.choice(ODD_TEXTS),
            "fail_reason": draw.choice(ODD_TEXTS),
            "architecture": draw.choice([{"backbone": {"name": "ß"}}, {"other": 1}, "text"]),
        }
        trial = create_trial(
            state=state,
            values=[draw.choice([*ODD_NUMBERS, 0.25, 1.5, 1e20]) for _ in range(3)]
            if state.name == "COMPLETE"
            else None,
            params={name: value for name, (value, _) in kept.items()},
            distributions={name: distribution for name, (_, distribution) in kept.items()},
            user_attrs={key: value for key, value in attributes.items() if draw.random() < 0.6},
            intermediate_values={
                step: draw.choice([*ODD_NUMBERS, math.nan]) for step in draw.sample(range(1, 12), draw.randrange(4))
            },
        )
        trial.datetime_start = begin if begun else None
        trial.datetime_complete = begin + timedelta(seconds=draw.randrange(99), microseconds=7) if ended else None
        storage.create_new_trial(study, template_trial=trial)
    storage.engine.dispose()


@pytest.fixture(scope="module")
def in_a_file(tmp_path_factory: pytest.TempPathFactory) -> Study:
    url = f"sqlite:///{tmp_path_factory.mktemp('where') / 'studies.db'}"
    return opened(url)


@pytest.fixture(scope="module")
def on_a_server(postgresql) -> Study:
    return opened(postgresql.new_database())


def opened(url: str) -> Study:
    write(url, seed=0)
    return open_study(url, "odd")


# An expression drawn at random: how it is written, and what it comes to for a record.


@dataclass(frozen=True)
class Expression:
    text: str
    of: Callable[[TrialRecord], Any]

    def __repr__(self) -> str:
        return self.text


def present(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def column(name: str) -> Expression:
    return Expression(name, lambda record: present(getattr(record, name)))


def parameter(text: str, name: str) -> Expression:
    return Expression(text, lambda record: record.parameters.get(name))


def literal(value: float | str) -> Expression:
    text = "1e999" if value == math.inf else "-1e999" if value == -math.inf else None
    if isinstance(value, str):
        text = "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
    return Expression(text or repr(value), lambda record: value)


NUMBER_NAMES = st.sampled_from(
    [
        *map(column, ("number", "accuracy", "flops", "params", "epochs", "duration_s", "is_pareto", "is_baseline")),
        Expression("latency", lambda record: present(record.objectives.get("latency"))),
        Expression("objectives['flops']", lambda record: present(record.objectives.get("flops"))),
        parameter("count", "count"),
        parameter("rate", "rate"),
        parameter("params['flops']", "flops"),
    ]
)
TEXT_COLUMNS = [
    *map(column, ("architecture_id", "baseline", "fail_reason")),
    parameter("layer1.position", "layer1.position"),
]
STARTED = Expression("started", lambda record: record.started.isoformat() if record.started else None)
TEXT_NAMES = st.sampled_from([*TEXT_COLUMNS, STARTED])
EITHER_NAMES = st.just(parameter("mixed", "mixed"))
NUMBERS = st.sampled_from(ODD_NUMBERS) | st.integers(-9, 99)
TEXTS = st.sampled_from([*ODD_TEXTS, "c0ffee", "b", "2025-03-01T00:00:02"])
MOMENTS = {
    "2025-03-01": datetime(2025, 3, 1, tzinfo=UTC),
    "2025-03-01 00:00": datetime(2025, 3, 1, tzinfo=UTC),
    "2025-03-01T00:00:02": datetime(2025, 3, 1, 0, 0, 2, tzinfo=UTC),
    "2025-03-01 00:00:03.123456": datetime(2025, 3, 1, 0, 0, 3, 123456, tzinfo=UTC),
    "2025-03-01 02:00:04+02:00": datetime(2025, 3, 1, 0, 0, 4, tzinfo=UTC),
    "2025-03-01T00:00:05.999999Z": datetime(2025, 3, 1, 0, 0, 5, 999999, tzinfo=UTC),
    "2025-03-02 01": datetime(2025, 3, 2, 1, tzinfo=UTC),
}
"""Ways to write a time, and the moment that each means."""


def computed(parts: tuple[Expression, str, Expression]) -> Expression:
    left, sign, right = parts

    def of(record: TrialRecord) -> float | None:
        a, b = left.of(record), right.of(record)
        if a is None or b is None or (sign == "/" and b == 0):
            return None
        operation = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[sign]
        return present(operation(float(a), float(b)))

    return Expression(f"({left} {sign} {right})", of)


def negated(operand: Expression) -> Expression:
    return Expression(f"-{operand}", lambda r: None if operand.of(r) is None else -operand.of(r))


NUMERIC = st.recursive(
    NUMBER_NAMES | NUMBERS.map(literal),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(computed) | NUMBER_NAMES.map(negated),
    max_leaves=4,
)
TEXTUAL = st.sampled_from(TEXT_COLUMNS) | TEXTS.map(literal)
ORDERS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def compared(parts: tuple[Expression, str, Expression]) -> Expression:
    left, sign, right = parts

    def of(record: TrialRecord) -> bool:
        a, b = left.of(record), right.of(record)
        if a is None or b is None:
            return False
        if isinstance(a, str) != isinstance(b, str):
            return sign == "!="
        return ORDERS[sign](a, b)

    return Expression(f"{left} {sign} {right}", of)


def listed(parts: tuple[Expression, bool, list[float | str]]) -> Expression:
    value, negative, members = parts
    text = ", ".join(str(literal(member)) for member in members)

    def of(record: TrialRecord) -> bool:
        found = value.of(record)
        return found is not None and (found in members) is not negative

    return Expression(f"{value} {'not ' * negative}in [{text}]", of)


def at_moments(parts: tuple[bool, str, bool, list[str]]) -> Expression:
    """Comparisons of ``started`` with one time, or with a list."""
    in_a_list, sign, negative, texts = parts
    if in_a_list:
        members = ", ".join(repr(text) for text in texts)
        return Expression(
            f"started {'not ' * negative}in [{members}]",
            lambda r: r.started is not None and (r.started in [MOMENTS[text] for text in texts]) is not negative,
        )
    moment = MOMENTS[texts[0]]
    if negative:
        return Expression(f"'{texts[0]}' {sign} started", lambda r: bool(r.started and ORDERS[sign](moment, r.started)))
    return Expression(f"started {sign} '{texts[0]}'", lambda r: bool(r.started and ORDERS[sign](r.started, moment)))


def partial(parts: tuple[Expression, bool, Expression]) -> Expression:
    part, negative, whole = parts

    def of(record: TrialRecord) -> bool:
        a, b = part.of(record), whole.of(record)
        return a is not None and b is not None and (a in b) is not negative

    return Expression(f"{part} {'not ' * negative}in {whole}", of)


def like(parts: tuple[Expression, bool, str]) -> Expression:
    value, negative, pattern = parts

    def fits(text: str, pattern: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "%":
            return any(fits(text[at:], pattern[1:]) for at in range(len(text) + 1))
        return bool(text) and pattern[0] in ("_", text[0]) and fits(text[1:], pattern[1:])

    def of(record: TrialRecord) -> bool:
        found = value.of(record)
        return found is not None and fits(found, pattern) is not negative

    return Expression(f"{value} {'not ' * negative}like {literal(pattern)}", of)


def on_the_curve(parts: tuple[Expression, bool]) -> Expression:
    value, negative = parts

    def of(record: TrialRecord) -> bool:
        found = value.of(record)
        return found is not None and (found in record.curve) is not negative

    return Expression(f"{value} {'not ' * negative}in curve", of)


def asked_for(parts: tuple[Expression, str]) -> Expression:
    value, text = parts
    return Expression(
        text.format(value), lambda record: (value.of(record) is None) is not ("not" in text or "!" in text)
    )


def truthy(value: Expression) -> Expression:
    return Expression(str(value), lambda record: bool(value.of(record)))


NEGATIVE = st.booleans()
PATTERNS = st.text(st.sampled_from("%_aceo0fmuyP!*?[]ß\\"), max_size=5) | st.sampled_from(["%of%", "c_ff%", "%"])
SIGNS = st.sampled_from(list(ORDERS))
COMPARISONS = st.one_of(
    st.tuples(NUMERIC, SIGNS, NUMERIC).map(compared),
    st.tuples(TEXTUAL, SIGNS, TEXTUAL).map(compared),
    st.tuples(EITHER_NAMES, SIGNS, NUMERIC | TEXTUAL | EITHER_NAMES).map(compared),
    st.tuples(st.booleans(), SIGNS, NEGATIVE, st.lists(st.sampled_from(list(MOMENTS)), min_size=1, max_size=3)).map(
        at_moments
    ),
    st.tuples(NUMERIC, NEGATIVE, st.lists(NUMBERS, max_size=4)).map(listed),
    st.tuples(st.sampled_from(TEXT_COLUMNS), NEGATIVE, st.lists(TEXTS, max_size=4)).map(listed),
    st.tuples(st.just(column("state")), SIGNS, st.sampled_from(STATES).map(literal)).map(compared),
    st.tuples(st.just(column("state")), NEGATIVE, st.lists(st.sampled_from(STATES))).map(listed),
    st.tuples(EITHER_NAMES, NEGATIVE, st.lists(NUMBERS | TEXTS, max_size=4)).map(listed),
    st.tuples(TEXTUAL, NEGATIVE, TEXT_NAMES).map(partial),
    st.tuples(TEXTUAL | st.just(STARTED), NEGATIVE, PATTERNS).map(like),
    st.tuples(NUMERIC, NEGATIVE).map(on_the_curve),
    st.tuples(
        NUMERIC | TEXT_NAMES | EITHER_NAMES,
        st.sampled_from(["{} is None", "{} is not None", "{} == None", "{} != None", "None == {}", "None != {}"]),
    ).map(asked_for),
    (NUMERIC | TEXTUAL | EITHER_NAMES | st.just(STARTED)).map(truthy),
)


def joined(word: str, holds: Callable[[Iterator[bool]], bool]) -> Callable[[list[Expression]], Expression]:
    def join(terms: list[Expression]) -> Expression:
        return Expression(
            f" {word} ".join(f"({term})" for term in terms), lambda record: holds(term.of(record) for term in terms)
        )

    return join


EXPRESSIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(joined("and", all)),
        st.lists(inner, min_size=2, max_size=3).map(joined("or", any)),
        inner.map(lambda term: Expression(f"not ({term})", lambda record: not term.of(record))),
    ),
    max_leaves=4,
)


def check(study: Study, expression: Expression) -> None:
    expected = [record.number for record in study.records if expression.of(record)]
    assert [record.number for record in study.trials(expression.text)] == expected


@given(expression=EXPRESSIONS)
@settings(max_examples=80)
def test_the_database_finds_what_a_walk_finds(in_a_file: Study, expression: Expression) -> None:
    check(in_a_file, expression)


@given(expression=EXPRESSIONS)
@settings(max_examples=20)
def test_so_does_a_server(on_a_server: Study, expression: Expression) -> None:
    check(on_a_server, expression)


CONSTANTS = st.integers(-9, 9).map(str)


@given(
    terms=st.lists(CONSTANTS, min_size=2, max_size=5),
    signs=st.lists(st.sampled_from(["+", "-", "*", "<", "<=", "==", "!=", " and ", " or ", " and not "]), min_size=4),
)
def test_operators_bind_as_pythons(terms: list[str], signs: list[str]) -> None:
    """By what the tree of constants comes to, which Python works out by itself."""
    text = terms[0] + "".join(sign + term for sign, term in zip(signs, terms[1:], strict=False))
    assert bool(worked_out(parse(text))) == bool(eval(text))


def worked_out(node: Node) -> float | bool:
    match node:
        case Constant(value=value):
            return value
        case Arithmetic(left=left, sign=sign, right=right):
            return {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](worked_out(left), worked_out(right))
        case Comparison(left=left, comparator=sign, right=right):
            return ORDERS[sign](worked_out(left), worked_out(right))
        case Every(terms=terms):
            return all(map(worked_out, terms))
        case Some(terms=terms):
            return any(map(worked_out, terms))
        case Not(operand=operand):
            return not worked_out(operand)
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "number"), [("40e6", 40e6), (".5", 0.5), ("1_000", 1000), ("2.", 2), ("1E-3", 0.001), ("007", 7)]
)
def test_numbers(text: str, number: float) -> None:
    assert parse(text).value == number


@pytest.mark.parametrize("text", ["1__", "1.2.3", "12abc", "0x1f", "1e", "1.e", "..5", "1 2"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(InputError):
        parse(text)


@given(st.text())
def test_a_text_is_read_as_it_was_meant(text: str) -> None:
    assert parse(str(literal(text))).value == text


@given(st.text(min_size=1))
def test_any_name_can_be_written(name: str) -> None:
    plain, in_group = written(name, "params", ()), written(name, "params", {name})
    assert parse_name(plain) in (Name(0, name), Name(0, name, "params"))
    assert parse_name(in_group) == Name(0, name, "params")


@given(st.text(st.characters() | st.sampled_from("'\"()[]<>=!+-*/,. andornotinislike0123456789"), max_size=40))
def test_any_text_is_an_expression_or_an_input_error(text: str) -> None:
    try:
        parse(text)
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "acuracy > 1",
            "in `acuracy > 1` at column 1, `acuracy > 1`: unknown column 'acuracy': did you mean 'accuracy'",
        ),
        ("flops > 1 and laency > 1", "at column 15, `laency > 1`: unknown column 'laency': did you mean 'latency'"),
        ("layer1.positon == 'pre'", "unknown column 'layer1.positon': did you mean 'layer1.position'"),
        ("params['contu'] == 8", "unknown parameter 'contu': did you mean 'count'"),
        ("objectives['latncy'] == 8", "unknown objective 'latncy': did you mean 'latency'"),
        ("param['count'] == 8", "unknown group 'param': did you mean 'params'"),
        (
            "state == COMPLETE",
            "at column 10, `COMPLETE`: unknown column 'COMPLETE': if it is meant as a text, write it",
        ),
        ("state == 'COMPLET'", "at column 10, `'COMPLET'`: unknown state 'COMPLET': did you mean 'COMPLETE'"),
        ("'COMPLET' != state", "unknown state 'COMPLET'"),
        (
            "state in ('PRUNE', 'FAIL')",
            "at column 11, `'PRUNE', 'FAIL')`: unknown state 'PRUNE': did you mean 'PRUNED'",
        ),
        ("accuracy > > 1", "in `accuracy > > 1` at column 12, `> 1`: expected a name, a number or 'text'"),
        ("accuracy >", "in `accuracy >` at its end: expected a name"),
        ("state = 'FAIL'", "at column 7, `= 'FAIL'`: to compare, write =="),
        ("accuracy is 0.9", "'is' is for None alone"),
        ("state == 'FAIL", "at column 10, `'FAIL`: this text has no end"),
        (" ", "the expression is empty"),
        ("not " * 5000 + "True", "nested too deeply"),
        ("-" * 900 + "1 > 0", "20 of them + - * /"),
        ("(" * 900 + "1", "nested too deeply"),
        ("1" + " + 1" * 900, "at most 200 operators"),
        ("state > 3", "a text does not compare with a number"),
        ("accuracy == '0.9'", "a number does not compare with a text"),
        ("None < 3", "None does not compare with a number"),
        ("accuracy in ('a', 'b')", "a number is in no list of texts"),
        ("layer1.position in (1, 2)", "a text is in no list of numbers"),
        ("state + 'x' == 'y'", "at column 1, `state + 'x' == 'y'`: this is a text, and a number is wanted"),
        ("'a' * 999999999 == 'b'", "a number is wanted"),
        ("flops in 3", "'in' asks for a list"),
        ("flops in (params, 3)", "at column 11, `params, 3)`: a list holds numbers and texts alone"),
        ("None in (1, 2)", "ask by 'is None'"),
        ("flops like '1%'", "'like' compares a text with a pattern"),
        ("state like architecture_id", "'like' compares a text with a pattern"),
        ("curve > 0.5", "a curve is no single value"),
        ("(1, 2) == 3", "a list is for 'in' alone"),
        ("(flops > 1) == True", "join such by 'and', 'or' and 'not'"),
        ("flops > 1 2", "at column 11, `2`: expected an operator"),
        ("flops in (1 2)", "at column 13, `2)`: expected ')'"),
        ("flops in [1 2]", "at column 13, `2]`: expected ','"),
        ("(accuracy > 0.9", "at its end: expected ')'"),
        ("(accuracy > 0.9] and 1", "at column 16, `] and 1`: expected ')'"),
        (
            "layer1.position == post",
            "at column 20, `post`: unknown column 'post': if it is meant as a text, write it in",
        ),
        ("layer1.position in (pre, post)", "a list holds numbers and texts alone: write 'pre'"),
        ("FLOPs > 1", "unknown column 'FLOPs': did you mean 'flops'?"),
        ("trial > 1", "unknown column 'trial': did you mean 'number'?"),
        ("flops > 1 AND params > 1", "at column 11, `AND params > 1`: write 'and' in small letters"),
        ("NOT flops > 1", "at column 1, `NOT flops > 1`: write 'not' in small letters"),
        ("flops > 1 && params > 1", "at column 11, `&& params > 1`: write 'and'"),
        ("flops > 1 || params > 1", "at column 11, `|| params > 1`: write 'or'"),
        ("baseline == 'a\udcff'", "at column 15, `\\udcff'`: this is not UTF-8"),
        ("started > 'yesterday'", "at column 11, `'yesterday'`: this is no time: write it as '2026-03-01' or"),
        ("'2026-02-30' <= started", "at column 1, `'2026-02-30' <= started`: this is no time"),
        ("started in ('2026-03-01', '2026-3-1')", "at column 27, `'2026-3-1')`: this is no time"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(in_a_file: Study, expression: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        in_a_file.trials(expression)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__",
        "(lambda: 1)()",
        "[c for c in curve]",
        "f'{accuracy}' == '1'",
        "flops ** flops",
        "'a' @ 'b'",
        "curve[0] > 0",
        "params[number] > 0",
        "(number := 3)",
        "flops if number else params",
        "accuracy & 1",
        "b'x' == 'x'",
        "1j == 1",
        "{'a': 1} == 1",
        "...",
        "parse('x')",
        "1; DROP TABLE trials",
        "1 -- 1 /* */",
    ],
)
def test_nothing_else_can_be_said(in_a_file: Study, expression: str) -> None:
    with pytest.raises(InputError):
        in_a_file.trials(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "number in (" + ", ".join(map(str, range(5000))) + ")",
        "1" + " / 1" * 20,
        "(" * 19 + "1" + " / 1)" * 19,
        " and ".join(["number >= 0"] * 100),
        "number < 0 or (number >= 0 and (" * 10 + "number >= 0" + "))" * 10,
        "not " * 10 + "(" + "-" * 8 + "1 != 5)",
        "(" * 20 + "1" + ")" * 20,
    ],
    ids=range(7),
)
def test_what_is_long_and_right_can_be_said(in_a_file: Study, expression: str) -> None:
    assert in_a_file.count(expression) == len(in_a_file.records)


SORTED = [
    "number",
    "accuracy",
    "state",
    "started",
    "mixed",
    "layer1.position",
    "params['flops']",
    "latency",
    "is_pareto",
]


def check_order(study: Study, key: str) -> None:
    """Kind by kind, from low to high; equal ones by number; what is missing last."""
    found = {
        "params['flops']": lambda record: record.parameters.get("flops"),
        "latency": lambda record: present(record.objectives.get("latency")),
        "started": lambda record: record.started and record.started.isoformat(),
    }.get(key, lambda record: present(getattr(record, key, record.parameters.get(key))))
    there = [record for record in study.records if found(record) is not None]
    missing = [record.number for record in study.records if found(record) is None]
    for name, reverse in ((key, False), (f"-{key}", True)):
        # Python's sort is stable either way, so what is equal keeps the order of numbers.
        expected = sorted(there, key=lambda r: (isinstance(found(r), str), found(r)), reverse=reverse)
        assert [r.number for r in study.trials(sort=name)] == [r.number for r in expected] + missing


@pytest.mark.parametrize("key", SORTED)
def test_trials_are_sorted(in_a_file: Study, key: str) -> None:
    check_order(in_a_file, key)


@pytest.mark.parametrize("key", SORTED)
def test_a_server_sorts_them_so_too(on_a_server: Study, key: str) -> None:
    check_order(on_a_server, key)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("acuracy", "did you mean 'accuracy'"),
        ("-acuracy", "did you mean 'accuracy'"),
        ("architecture", "no order by architecture"),
        ("-curve", "no order by curve"),
        ("layer1.positon", "did you mean 'layer1.position'"),
        ("accuracy + 1", "`accuracy + 1` is no name"),
        ("", "the name of a column is empty"),
        ("-", "the name of a column is empty"),
        ("FLOPs", "did you mean 'flops'"),
        ("accuracy\udcff", "this is not UTF-8"),
    ],
)
def test_sorting_by_what_there_is_not(in_a_file: Study, key: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        in_a_file.trials(sort=key)


def test_where_sort_and_limit_go_together_and_can_be_counted(in_a_file: Study) -> None:
    found = in_a_file.trials("accuracy > 0", sort="-accuracy", limit=3)
    everything = in_a_file.trials("accuracy > 0")
    assert len(everything) > 3
    assert [r.accuracy for r in found] == sorted((r.accuracy for r in everything), reverse=True)[:3]
    assert in_a_file.count("accuracy > 0") == len(everything)
    assert in_a_file.count() == len(in_a_file.records)
    assert in_a_file.trials(limit=0) == []
    for limit in (-1, 2**31):
        with pytest.raises(InputError, match=f"limit must be 0 to 2147483647, not {limit}"):
            in_a_file.trials(limit=limit)


OVERFLOW = "number >= 0 and number + 1e200 * 1e200 > 0"


def test_a_number_beyond_all_floats_is_infinite_in_a_file(in_a_file: Study) -> None:
    assert in_a_file.count(OVERFLOW) == len(in_a_file.records)


@pytest.mark.parametrize(
    ("expression", "reason"), [(OVERFLOW, "a number is out of range"), ("baseline == '\0'", "NUL")]
)
def test_a_server_refuses_it_and_the_expression_is_named(on_a_server: Study, expression: str, reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"in `{expression}`: ") + f".*{reason}"):
        on_a_server.count(expression)
    assert on_a_server.count("number >= 0") == len(on_a_server.records)


@given(
    st.lists(
        st.sampled_from(["accuracy", "layer1.position"]) | st.text().map(lambda name: written(name, "params", {name})),
        min_size=1,
    )
)
def test_names_are_split_at_the_commas_between_them(names: list[str]) -> None:
    assert split_names(",".join(names)) == split_names(" , ".join(names)) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column is named"),
        ("number,,accuracy", "in `number,,accuracy` at column 8, `,accuracy`: expected the name of a column"),
        (",number", "at column 1, `,number`: expected the name"),
        ("number, ", "at its end: expected the name"),
        ("number,params['a", "at column 15, `'a`: this text has no end"),
    ],
)
def test_names_that_are_missing(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        split_names(text)


def test_a_record_is_the_same_however_it_was_asked_for(in_a_file: Study) -> None:
    by_question = in_a_file.trials("number >= 0")
    assert repr(by_question) == repr(in_a_file.trials())


def test_a_parameter_that_is_drawn_from_other_things_in_other_trials(url: str, new_study) -> None:
    """Which Optuna refuses, but rows may come to a DB by other ways."""
    reference = new_study()
    for _ in range(3):
        reference.ask().suggest_int("x", 1, 1)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for trial, choices in ((2, ("a", "b")), (3, (7, 8))):
            row = {"trial": trial, "text": distribution_to_json(CategoricalDistribution(choices))}
            connection.execute(
                sa.text("UPDATE trial_params SET distribution_json = :text WHERE trial_id = :trial"), row
            )
    engine.dispose()
    study = open_study(url, "a study")
    assert [record.parameters["x"] for record in study.trials()] == [1, "b", 8]
    for expression, found in {"x == 1": [0], "x == 'b'": [1], "x == 8": [2], "x != 1": [1, 2], "x < 9": [0, 2]}.items():
        assert [record.number for record in study.trials(expression)] == found
    assert [record.number for record in study.trials(sort="-x")] == [1, 2, 0]


def test_a_study_made_of_records_has_no_db_to_ask() -> None:
    study = Study("by hand", {}, (), [TrialRecord(0, "FAIL")])
    assert study.trials() == list(study.records) == [TrialRecord(0, "FAIL")]
    with pytest.raises(ValueError, match="'by hand' is made of records"):
        study.trials("number == 0")


def test_a_question_is_answered_as_of_now_and_records_as_of_then(url: str, new_study, report) -> None:
    reference = new_study()
    reference.tell(reference.ask(), [0.5, 1])
    study = open_study(url, "a study")
    assert len(study.records) == 1
    reference.tell(reference.ask(), [0.75, 2])
    assert [record.number for record in study.trials("accuracy > 0")] == [0, 1]
    assert len(study.records) == len(study.front()) == 1
