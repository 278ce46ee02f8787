"""YAML texts: data survives writing and reading, a repeated key is refused, and every error is one line."""

import json

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from search_space.errors import InputError
from search_space.yaml_text import parse_yaml, to_yaml

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | PRINTABLE
DATA = st.dictionaries(
    PRINTABLE,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3)),
    max_size=4,
)


@given(DATA)
@example({"text": "1e-3", "number": 1e-3, "large": 1e300})
@example({"<<": {"a": 1}, "=": "=", "yes": "no"})
def test_data_survives_writing_and_reading(data):
    assert parse_yaml(to_yaml(data), "x") == data
    assert parse_yaml(to_yaml(data, default_flow_style=True), "x") == data


@given(DATA, st.lists(st.sampled_from(["- {}", "{{a: {}}}", "[1, {}]"]), max_size=3))
def test_a_repeated_key_is_refused_wherever_it_is(data, nesting):
    members = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in {**data, "zz": 0}.items()]
    inner = "{" + ",\n".join([*members, '"zz": 1']) + "\n}"
    for form in nesting:
        inner = form.format(inner) if form != "- {}" else f"[{inner}]"
    with pytest.raises(InputError) as caught:
        parse_yaml(inner, "x")
    assert str(caught.value) == (
        f"x: the key 'zz' on line {len(members)} is repeated: it is also on line {len(members) + 1}; "
        "keep one of the two"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' on line 1 is repeated: it is also on line 3; keep one of the two"),
        ("{a: 1, a: 1}", "the key 'a' on line 1, column 2 is repeated: it is also on line 1, column 8"),
        ("yes: 1\ntrue: 2", "the key 'yes' on line 1 is repeated: 'true', which is the same key, is also on line 2"),
        ("1: 1\n0x1: 2", "the key '1' on line 1 is repeated: '0x1', which is the same key, is also on line 2"),
        ("'a': 1\na: 2", "the key 'a' on line 1 is repeated"),
        ("- - b:\n      a: 1\n      a: 2", "the key 'a' on line 2 is repeated: it is also on line 3"),
        ("x: {<<: {a: 1,\n a: 2}}", "the key 'a' on line 1 is repeated: it is also on line 2"),
        ("x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x", "<<: [*A, *B]"),
        ("!!set {a, a}", "the key 'a' on line 1"),
        ('{"a": {"b": 1,\n"b": 2}}', "the key 'b' on line 1 is repeated: it is also on line 2"),
    ],
)
def test_a_repeated_key_is_told_with_both_places(text, message):
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "x.yaml")
    assert str(caught.value).startswith("x.yaml: the key '")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "base: &base {a: 1, b: 2}\nuse: {<<: *base, a: 3}",
        "base: &base {a: 1, b: 2}\nuse: {a: 3, <<: *base}\nagain: {<<: *base, b: 0}",
        "one: &one {a: 1, b: 2}\ntwo: &two {<<: *one, b: 3}\nthree: {<<: [*two, *one], c: 1}\nfour: {<<: *two, b: 9}",
        "a: &a [1, 2]\nb: *a\nc: [*a, {d: *a}]",
        "a: {x: 1}\nb: {x: 1}\nx: 1",
        "'1': a\n1: b",
    ],
)
def test_merged_and_shared_values_are_read_as_by_pyyaml(text):
    assert parse_yaml(text, "x") == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\tb: 1", r"line 2, column 1: while scanning for the next token, found character '\t' that cannot"),
        (
            "a: 1\n---\nb: 2",
            "line 2, column 1: expected a single document in the stream (from line 1), but found another document",
        ),
        ("a: 1\nb: &b [*b]", "line 2, column 4: found unconstructable recursive node"),
        ("a: &a {b: *a}", "found unconstructable recursive node"),
        ("? [1]\n: 2", "line 1, column 3: while constructing a mapping, found unhashable key"),
        ("? {a: 1}\n: 2", "line 1, column 3: while constructing a mapping, found unhashable key"),
        ("x: 1\na: 2001-99-99", "line 2, column 4: '2001-99-99' is no valid timestamp (month must be in 1..12)"),
        ("a: 0x_", "'0x_' is no valid int"),
        ("a: !!bool maybe", "'maybe' is no valid bool"),
        ("a: !!timestamp x", "'x' is no valid timestamp"),
        ("a: !!float x", "'x' is no valid float"),
        ("a: " + "9" * 5000, "is no valid int"),
        ("[" * 5000, "nested too deeply"),
        ("a: 1\nb: \x07", r"line 2: the character '\x07' is not allowed"),
        ("a: *b", "found undefined alias 'b'"),
        ("a: !!python/name:os.system", "line 1, column 4: could not determine a constructor"),
    ],
)
def test_what_is_not_valid_is_told_in_one_line(text, message):
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "x.yaml")
    assert str(caught.value).startswith("x.yaml is not valid YAML: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300
    assert len(str(caught.value).splitlines()) == 1


def test_a_byte_order_mark_is_no_part_of_the_data():
    assert parse_yaml("\ufeffa: 1", "x") == {"a": 1}
