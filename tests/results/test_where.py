import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.records import TrialRecord
from results.where import parse, sort_key
from search_space.errors import InputError

PARAMETERS = ("layer1.0.ratio", "layer3.position", "lr")
TRIAL = TrialRecord(
    3,
    "COMPLETE",
    architecture_id="c0ffee",
    accuracy=0.9,
    flops=100,
    epochs=4,
    started=datetime(2025, 3, 1, tzinfo=UTC),
    is_pareto=True,
    curve=(0.5, 0.9),
    baseline="no SE",
    parameters={"layer1.0.ratio": 8, "layer3.position": "pre", "lr": 0.1},
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("accuracy > 0.8 and flops < 40e6 and state == 'COMPLETE'", True),
        ("accuracy > 0.9 or flops > 40e6", False),
        ("0.5 < accuracy <= 0.9", True),
        ("0.5 < accuracy < 0.9", False),
        ("is_pareto and is_baseline and not number > 3", True),
        ("baseline == 'no SE'", True),
        ("state in ('PRUNED', 'COMPLETE')", True),
        ("state not in ['PRUNED', 'COMPLETE']", False),
        ("0.5 in curve", True),
        ("'coff' not in architecture_id", True),
        ("flops / 100 + 2 * -3 - 1 == -6", True),
        ("started >= '2025-02'", True),
        ("layer1.0.ratio == 8", True),
        ("layer3.position=='pre'", True),
        ("params['layer1.0.ratio'] / 2 == 4", True),
        ("'layer3.position' == 'layer3.position'", True),
        ("accuracy > .5 and flops > 1.5", True),
        ("lr < 1 and \n lr > 0", True),
        ("True and not False and not None", True),
    ],
)
def test_what_can_be_said(expression: str, expected: bool) -> None:
    assert parse(expression, PARAMETERS)(TRIAL) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("params > 0", False),
        ("params <= 0", False),
        ("params != 5", False),
        ("params in (1, 2)", False),
        ("'memory' in fail_reason", False),
        ("params + 1 > 0", False),
        ("-params < 0", False),
        ("flops / 0 > 0", False),
        ("not params > 0", True),
        ("params is None", True),
        ("params == None", True),
        ("None == params", True),
        ("params is not None", False),
        ("accuracy != None", True),
        ("layer9.9.ratio == 8", False),
        ("params['layer9.9.ratio'] is None", True),
    ],
)
def test_what_is_missing(expression: str, expected: bool) -> None:
    assert parse(expression)(TRIAL) is expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("acuracy > 1", "unknown column 'acuracy': did you mean 'accuracy'"),
        ("layer3.positon == 'pre'", "unknown column 'layer3.positon': did you mean 'layer3.position'"),
        ("params['layer1.0.ration'] == 8", "unknown parameter 'layer1.0.ration': did you mean 'layer1.0.ratio'"),
        ("state == COMPLETE", "write it in quotes, 'COMPLETE'"),
        ("state == 'COMPLET'", "unknown state 'COMPLET': did you mean 'COMPLETE'"),
        ("state in ('PRUNE', 'FAIL')", "unknown state 'PRUNE': did you mean 'PRUNED'"),
        ("accuracy > > 1", "cannot read `accuracy > > 1` at `> 1`"),
        ("layer3.position > > 1", "cannot read `layer3.position > > 1` at `> 1`"),
        ("accuracy >", "cannot read `accuracy >` at its end"),
        ("state = 'COMPLETE'", "at `= 'COMPLETE'`: to compare, write =="),
        ("accuracy is 0.9", "`accuracy is 0.9` compares by 'is'"),
        (" ", "the expression is empty"),
        ("not " * 5000 + "True", "nested too deeply"),
        ("-" * 900 + "1 > 0", "nested too deeply"),
    ],
)
def test_what_is_wrong_is_named(expression: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(expression, PARAMETERS)
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
    ],
)
def test_nothing_else_can_be_said(expression: str) -> None:
    with pytest.raises(InputError):
        parse(expression, PARAMETERS)


@pytest.mark.parametrize("expression", ["'a' * 999999999 == 'b'", "state > 3", "state + 'x' == 'y'", "flops in 3"])
def test_what_does_not_work_together(expression: str) -> None:
    with pytest.raises(InputError, match="does not work between"):
        parse(expression)(TRIAL)


@given(st.text(max_size=40))
def test_any_text_is_a_predicate_or_an_input_error(text: str) -> None:
    try:
        assert parse(text, PARAMETERS)(TRIAL) in (True, False)
    except InputError as error:
        assert "\n" not in str(error)


NUMBERS = st.integers(-9, 9)


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.sampled_from("+-*"))
def test_arithmetic_and_comparison_are_pythons(a: int, b: int, c: int, comparison: str, operation: str) -> None:
    expression = f"{a} {operation} {b} {comparison} {c}"
    assert parse(expression)(TRIAL) == eval(expression)


@given(st.lists(st.none() | st.floats(allow_nan=True)))
def test_sorting_puts_what_is_missing_last_in_both_directions(accuracies: list[float | None]) -> None:
    trials = [TrialRecord(index, "COMPLETE", accuracy=accuracy) for index, accuracy in enumerate(accuracies)]
    present = [a for a in accuracies if a is not None and not math.isnan(a)]
    for name, reverse in (("accuracy", False), ("-accuracy", True)):
        ordered = [trial.accuracy for trial in sorted(trials, key=sort_key(name))]
        assert ordered[: len(present)] == sorted(present, reverse=reverse)


def test_sorting_is_stable_in_both_directions() -> None:
    trials = [TrialRecord(index, "FAIL", flops=index % 2) for index in range(6)]
    assert [trial.number for trial in sorted(trials, key=sort_key("flops"))] == [0, 2, 4, 1, 3, 5]
    assert [trial.number for trial in sorted(trials, key=sort_key("-flops"))] == [1, 3, 5, 0, 2, 4]


def test_sorting_by_text_and_by_parameters() -> None:
    ratios = [8, "none", 2, None, "all"]
    trials = [TrialRecord(i, "FAIL", parameters={"layer1.0.ratio": ratio}) for i, ratio in enumerate(ratios)]
    random.Random(0).shuffle(trials)
    assert [t.number for t in sorted(trials, key=sort_key("layer1.0.ratio"))] == [2, 0, 4, 1, 3]
    assert [t.number for t in sorted(trials, key=sort_key("-layer1.0.ratio"))] == [1, 4, 0, 2, 3]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acuracy", "did you mean 'accuracy'"),
        ("-acuracy", "did you mean 'accuracy'"),
        ("architecture", "no order by architecture"),
        ("layer3.positon", "did you mean 'layer3.position'"),
    ],
)
def test_sorting_by_what_there_is_not(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sort_key(name, PARAMETERS)
