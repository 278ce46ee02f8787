"""The orders within a front against their definitions."""

import warnings
from itertools import islice
from math import inf

import numpy as np
import pytest
from asha_reference import DEFINITIONS, coordinates, failing_coordinates, tie_names, vectors
from hypothesis import given
from hypothesis import strategies as st

from nas.asha import TIES


@st.composite
def fronts(draw, coordinate=failing_coordinates):
    """Distinct members and their scaled coordinates, of which some may coincide."""
    members = draw(st.lists(vectors(draw(st.integers(1, 3)), coordinate), min_size=1, max_size=12, unique=True))
    weights = draw(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=len(members[0]), max_size=len(members[0])))
    return {p: tuple(v if v == inf else v * w for v, w in zip(p, weights, strict=True)) for p in members}


def ordered(name, where, members=None):
    members = members or list(where)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = list(TIES[name](np.array(members), np.array([where[p] for p in members])))
    assert sorted(rows) == list(range(len(members)))
    return [members[row] for row in rows]


@given(fronts(), tie_names)
def test_orders_as_the_definition_says(where, name):
    assert ordered(name, where) == DEFINITIONS[name](where)


@given(fronts(), tie_names, st.randoms())
def test_the_order_of_the_rows_does_not_matter(where, name, random):
    shuffled = random.sample(list(where), len(where))
    assert ordered(name, where, shuffled) == ordered(name, where)


@given(fronts(coordinates), tie_names)
def test_the_best_in_the_first_objective_comes_first(where, name):
    assert ordered(name, where)[0] == min(where)


@given(fronts(), tie_names)
def test_failed_metrics_come_last(where, name):
    failed = [inf in p for p in ordered(name, where)]
    assert failed == sorted(failed)


def test_the_net_takes_the_ends_then_the_middle():
    line = {(float(x), 8.0 - x): (x / 8, 1 - x / 8) for x in (0, 1, 4, 8)}
    assert [x for x, _ in ordered("epsilon_net", line)] == [0, 8, 4, 1]


def test_crowding_takes_the_ends_then_the_lonely():
    line = {(float(x), 8.0 - x): (x / 8, 1 - x / 8) for x in (0, 1, 2, 5, 8)}
    assert [x for x, _ in ordered("crowding", line)] == [0, 8, 5, 2, 1]


@pytest.mark.parametrize("name", sorted(TIES))
def test_alike_members_come_in_lexicographic_order(name):
    same = dict.fromkeys([(2.0, 1.0), (1.0, 2.0), (3.0, 0.0)], (0.0, 0.0))
    assert ordered(name, same) == [(1.0, 2.0), (2.0, 1.0), (3.0, 0.0)]


def test_the_foremost_can_be_had_without_the_others():
    line = np.array([[x, -x] for x in range(100)], dtype=float)
    assert list(islice(TIES["epsilon_net"](line, line), 2)) == [0, 99]


def test_the_registry_names_all():
    assert sorted(TIES) == ["crowding", "epsilon_net"]
