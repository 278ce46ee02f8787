"""Non-dominated fronts and ranks, exactly, for any number of objectives.

A point is a sequence of objectives, every one of them minimised: the caller negates what it maximises. A point
dominates another if it is nowhere worse and somewhere better. The front are the points that nothing dominates;
rank 0 is the front, rank 1 the front of what is left without it, and so on (Deb et al., "A fast and elitist
multiobjective genetic algorithm: NSGA-II", 2002). Equal points share their rank. NaN, the loss of a training
that diverged, counts as the worst there is.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import partial
from math import inf, isnan

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better.

    Raises:
        ValueError: the points differ in their number of objectives.
    """
    return _beats(_comparable(a), _comparable(b))


def front(points: Sequence[Point]) -> list[int]:
    """The indices of the points that no other dominates, in the order given.

    O(n log n) for two objectives, O(n f) for a front of f points otherwise.

    Raises:
        ValueError: the points differ in their number of objectives.
    """
    given = _all_comparable(points)
    best: list[tuple[float, ...]] = []
    for point in sorted(set(given)):
        # In two dimensions the last of a front in lexicographic order has its least second objective.
        rivals = best[-1:] if len(point) == 2 else best
        if not any(_beats(rival, point) for rival in rivals):
            best.append(point)
    on_front = set(best)
    return [index for index, point in enumerate(given) if point in on_front]


def ranks(points: Sequence[Point]) -> list[int]:
    """The non-domination rank of every point; 0 is the front.

    O(n log n) for two objectives, O(n^2) in the worst case otherwise.

    Raises:
        ValueError: the points differ in their number of objectives.
    """
    given = _all_comparable(points)
    distinct = sorted(set(given))
    in_the_plane = bool(distinct) and len(distinct[0]) == 2
    rank_of = dict(zip(distinct, (_plane_ranks if in_the_plane else _ranks)(distinct), strict=True))
    return [rank_of[point] for point in given]


def _plane_ranks(distinct: Sequence[tuple[float, ...]]) -> list[int]:
    """Ranks of distinct points in lexicographic order, by the lowest second objective of each front so far.

    Whoever comes earlier is no worse in the first objective, so a front dominates a point exactly if its lowest
    second objective is no worse. These minima never decrease from front to front.
    """
    lowest: list[float] = []
    result = []
    for _, second in distinct:
        rank = bisect_right(lowest, second)
        lowest[rank : rank + 1] = [second]
        result.append(rank)
    return result


def _ranks(distinct: Sequence[tuple[float, ...]]) -> list[int]:
    """Ranks of distinct points in lexicographic order: ENS-BS (Zhang et al., doi 10.1109/TEVC.2014.2308305).

    Nobody is dominated by a later point, and whoever is dominated from one front is dominated from all fronts
    before it, so each point's front can be found by bisection.
    """
    fronts: list[list[tuple[float, ...]]] = []
    result = []
    for point in distinct:
        rank = bisect_left(fronts, True, key=partial(_spares, point))
        if rank == len(fronts):
            fronts.append([])
        fronts[rank].append(point)
        result.append(rank)
    return result


def _spares(point: tuple[float, ...], members: Sequence[tuple[float, ...]]) -> bool:
    """Whether none of the members dominates the point; the latest is the likeliest to."""
    return not any(_beats(member, point) for member in reversed(members))


def _beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _all_comparable(points: Sequence[Point]) -> list[tuple[float, ...]]:
    if len({len(point) for point in points}) > 1:
        raise ValueError("points must all have the same number of objectives")
    return [_comparable(point) for point in points]


def _comparable(point: Point) -> tuple[float, ...]:
    return tuple(inf if isnan(value) else value for value in point)
