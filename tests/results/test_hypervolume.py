"""The hypervolume against a count of small cubes, and Optuna's own."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from results.hypervolume import hypervolume

SIDE = 5


def points(dimensions):
    return st.lists(st.tuples(*[st.integers(0, SIDE + 1)] * dimensions), max_size=12)


@given(st.integers(1, 4).flatmap(lambda d: st.tuples(st.just(d), points(d))))
def test_it_is_the_number_of_unit_cubes_that_some_point_dominates(drawn):
    dimensions, losses = drawn
    cubes = itertools.product(range(SIDE), repeat=dimensions)
    dominated = sum(any(all(v <= c for v, c in zip(p, cube, strict=True)) for p in losses) for cube in cubes)
    assert hypervolume(losses, [SIDE] * dimensions) == dominated


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=20))
def test_it_is_optunas(losses):
    theirs = compute_hypervolume(np.array(losses), np.ones(3) * 1.1)
    assert hypervolume(losses, [1.1] * 3) == pytest.approx(theirs)
