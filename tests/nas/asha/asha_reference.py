"""ASHA by its definitions, slowly: what the tests compare with."""

from itertools import islice
from math import inf, isinf

from hypothesis import strategies as st

from nas.asha import TIES, Verdict

GO_ON, STOP, PAUSE = Verdict.GO_ON, Verdict.STOP, Verdict.PAUSE

coordinates = st.integers(0, 6).map(float)
failing_coordinates = st.one_of(coordinates, st.just(inf))
tie_names = st.sampled_from(sorted(TIES))
etas = st.sampled_from([2, 3, 4])


def vectors(objectives, coordinate=coordinates):
    return st.tuples(*[coordinate] * objectives)


points = vectors(2)
several = st.lists(points, min_size=1, max_size=25)


@st.composite
def samples(draw, *, min_size=1, max_size=25):
    """Vectors of 1 to 3 objectives with many duplicates and failed metrics."""
    vector = vectors(draw(st.integers(1, 3)), failing_coordinates)
    return draw(st.lists(vector, min_size=min_size, max_size=max_size))


def beats(a, b):
    """Whether a dominates b."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def peeled(recorded):
    """The fronts as sets of distinct vectors."""
    left, fronts = set(recorded), []
    while left:
        fronts.append({p for p in left if not any(beats(q, p) for q in left)})
        left -= fronts[-1]
    return fronts


def scaled(point, recorded, ranges):
    """A point on axes from 0 to 1; without a range on those of the finite values."""
    result = []
    for axis, value in enumerate(point):
        finite = [p[axis] for p in recorded if not isinf(p[axis])]
        low, high = ranges[axis] or (min(finite, default=0.0), max(finite, default=0.0))
        unit = (value - low) / (high - low) if high > low else 0.0
        result.append(inf if isinf(value) else unit)
    return tuple(result)


def split(where):
    """Members in lexicographic order: those with finite coordinates, and the others."""
    ordered = sorted(where)
    return [p for p in ordered if inf not in where[p]], [p for p in ordered if inf in where[p]]


def net_by_definition(where):
    """Farthest first; where maps each member to its scaled coordinates."""
    left, failed = split(where)
    taken = left[:1]
    left = left[1:]

    def gap(p):
        return min(sum((x - y) ** 2 for x, y in zip(where[p], where[q], strict=True)) for q in taken)

    while left:
        gaps = [gap(p) for p in left]
        taken.append(left.pop(gaps.index(max(gaps))))
    return taken + failed


def crowding_by_definition(where):
    """NSGA-II's distance, largest first, after the best in the first objective."""
    whole, failed = split(where)
    distance = dict.fromkeys(whole, 0.0)
    for axis in range(len(next(iter(where)))):
        line = sorted(whole, key=lambda p, axis=axis: (where[p][axis], p))
        if len({where[p][axis] for p in line}) < 2:
            continue
        for before, p, after in zip(line, line[1:], line[2:], strict=False):
            distance[p] += where[after][axis] - where[before][axis]
        distance[line[0]] = distance[line[-1]] = inf
    return whole[:1] + sorted(whole[1:], key=lambda p: (-distance[p], p)) + failed


DEFINITIONS = {"epsilon_net": net_by_definition, "crowding": crowding_by_definition}


def in_order(recorded, *, ranges=None, ties="epsilon_net"):
    """The distinct vectors in the full order: by front, and within a front by ties."""
    ranges = ranges or (None,) * len(recorded[0])
    for front in peeled(recorded):
        yield from DEFINITIONS[ties]({p: scaled(p, recorded, ranges) for p in front})


def ahead_by_definition(own, recorded, **settings):
    """How many, equal ones counted each, are before a recorded vector."""
    before = 0
    for point in in_order(recorded, **settings):
        if point == own:
            return before
        before += recorded.count(point)
    raise AssertionError


def best_by_definition(recorded, places, **settings):
    """The trials, by number, that hold the first places; of equal vectors the lowest numbers."""
    ordered = in_order(list(recorded.values()), **settings) if recorded else []
    return list(islice((t for p in ordered for t in sorted(recorded) if recorded[t] == p), places))


def increasing(draw):
    """A strictly increasing function on the coordinates 0 to 6, inf staying inf."""
    images = sorted(draw(st.lists(st.floats(-1e6, 1e6), min_size=7, max_size=7, unique=True)))
    return lambda value: value if isinf(value) else images[int(value)]
