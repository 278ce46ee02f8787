from collections.abc import Sequence
from math import inf, isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.front import dominates, front, ranks

# Few distinct values, so that ties and equal points are common.
COORDINATES = st.one_of(st.integers(0, 4), st.sampled_from([0.5, inf, -inf, nan]))


@st.composite
def clouds(draw: st.DrawFn) -> list[tuple[float, ...]]:
    dimension = draw(st.integers(1, 4))
    return draw(st.lists(st.tuples(*[COORDINATES] * dimension), max_size=25))


def worst_for_nan(value: float) -> float:
    return inf if isnan(value) else value


def reference_dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    pairs = [(worst_for_nan(x), worst_for_nan(y)) for x, y in zip(a, b, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def reference_ranks(points: list[tuple[float, ...]]) -> list[int]:
    """Peels front after front, by the definition."""
    ranks = [-1] * len(points)
    left = set(range(len(points)))
    rank = 0
    while left:
        peeled = {i for i in left if not any(reference_dominates(points[j], points[i]) for j in left)}
        for index in peeled:
            ranks[index] = rank
        left -= peeled
        rank += 1
    return ranks


@given(clouds())
def test_ranks_are_those_of_peeling_front_after_front(points: list[tuple[float, ...]]) -> None:
    assert ranks(points) == reference_ranks(points)


@given(clouds())
def test_the_front_is_rank_zero(points: list[tuple[float, ...]]) -> None:
    assert front(points) == [index for index, rank in enumerate(reference_ranks(points)) if rank == 0]


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=40))
def test_any_floats_in_the_plane(points: list[tuple[float, float]]) -> None:
    assert ranks(points) == reference_ranks(points)


@given(st.integers(1, 4).flatmap(lambda n: st.tuples(*[st.tuples(*[COORDINATES] * n)] * 2)))
def test_dominates_is_its_definition(pair: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    assert dominates(*pair) == reference_dominates(*pair)


def test_equal_points_share_a_rank_and_do_not_dominate_each_other() -> None:
    assert ranks([(1, 1), (0, 0), (1, 1), (0, 0)]) == [1, 0, 1, 0]
    assert not dominates((1, 1), (1, 1))


def test_a_diverged_point_ranks_last() -> None:
    assert ranks([(nan, 3), (0, 3), (1, 3)]) == [2, 0, 1]


def test_nothing_has_no_front() -> None:
    assert front([]) == []
    assert ranks([]) == []


@pytest.mark.parametrize("function", [front, ranks])
def test_points_of_different_lengths_are_refused(function) -> None:
    with pytest.raises(ValueError, match="same number"):
        function([(1, 2), (1, 2, 3)])
