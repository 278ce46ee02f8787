"""Incremental non-dominated sorting against peeling from scratch."""

from collections import Counter
from math import inf, nan

import pytest
from asha_reference import failing_coordinates, peeled, samples, vectors
from hypothesis import given
from hypothesis import strategies as st

from nas.asha import Fronts


def agrees_with_peeling(fronts, recorded):
    expected = peeled(recorded)
    counts = Counter(recorded)
    found = [[tuple(row) for row in fronts.members(rank).tolist()] for rank in range(fronts.n_fronts)]
    assert [set(members) for members in found] == expected
    assert [len(members) for members in found] == [len(front) for front in expected]
    ahead = 0
    for rank, front in enumerate(expected):
        size = sum(counts[point] for point in front)
        assert (fronts.ahead(rank), fronts.size(rank)) == (ahead, size)
        assert all((fronts.rank(point), fronts.count(point)) == (rank, counts[point]) for point in front)
        ahead += size
    assert len(fronts) == ahead == len(recorded)
    assert fronts.sizes.tolist() == [sum(counts[point] for point in front) for front in expected]
    assert fronts.ranks.tolist() == [fronts.rank(point) for point in counts]


@given(samples())
def test_fronts_are_those_of_peeling_after_every_insertion(recorded):
    fronts = Fronts(len(recorded[0]))
    for n, point in enumerate(recorded, start=1):
        fronts.add(point)
        agrees_with_peeling(fronts, recorded[:n])


@pytest.mark.parametrize("objectives", [1, 2, 3])
@given(st.data())
def test_many_vectors_of_few_distinct_values(objectives, data):
    recorded = data.draw(st.lists(vectors(objectives, st.sampled_from([0.0, 1.0, inf])), min_size=20, max_size=60))
    fronts = Fronts(objectives)
    for point in recorded:
        fronts.add(point)
    agrees_with_peeling(fronts, recorded)


@given(st.lists(vectors(2, st.floats(allow_nan=False)), max_size=25))
def test_any_floats(recorded):
    fronts = Fronts(2)
    for point in recorded:
        fronts.add(point)
    agrees_with_peeling(fronts, recorded)


@given(samples())
def test_distinct_vectors_are_numbered_as_they_arrive(recorded):
    fronts = Fronts(len(recorded[0]))
    arrived = list(dict.fromkeys(recorded))
    assert [fronts.add(point) for point in recorded] == [arrived.index(point) for point in recorded]


@given(samples(), st.randoms())
def test_the_order_of_insertion_does_not_matter(recorded, random):
    fronts = Fronts(len(recorded[0]))
    shuffled = random.sample(recorded, len(recorded))
    for point in shuffled:
        fronts.add(point)
    agrees_with_peeling(fronts, shuffled)
    assert [fronts.rank(point) for point in recorded] == [
        rank for point in recorded for rank, front in enumerate(peeled(recorded)) if point in front
    ]


def test_a_chain_in_either_direction():
    for chain in (range(50), range(49, -1, -1)):
        fronts = Fronts(2)
        for value in chain:
            fronts.add((value, value))
        assert [fronts.rank((value, value)) for value in range(50)] == list(range(50))


def test_members_are_a_copy():
    fronts = Fronts(2)
    fronts.add((1.0, 2.0))
    fronts.members(0)[:] = 0.0
    assert fronts.rank((1.0, 2.0)) == 0


@given(vectors(2, failing_coordinates), vectors(2, failing_coordinates))
def test_only_what_is_recorded_has_a_rank(recorded, other):
    fronts = Fronts(2)
    fronts.add(recorded)
    if other == recorded:
        assert (fronts.rank(other), fronts.count(other)) == (0, 1)
    else:
        assert fronts.count(other) == 0
        with pytest.raises(KeyError):
            fronts.rank(other)


@pytest.mark.parametrize(
    ("losses", "message"),
    [((0.0, nan), "losses must not be NaN"), ((0.0,), "there must be 2 losses"), ((0.0,) * 3, "there must be 2")],
)
def test_what_cannot_be_sorted_is_refused_and_not_recorded(losses, message):
    fronts = Fronts(2)
    with pytest.raises(ValueError, match=message):
        fronts.add(losses)
    assert (len(fronts), fronts.n_fronts) == (0, 0)


def test_no_objectives_are_refused():
    with pytest.raises(ValueError, match="objectives must be at least 1, not 0"):
        Fronts(0)
