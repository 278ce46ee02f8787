"""Multi-objective ASHA against a brute-force reading of its definition, and by its properties."""

from math import dist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.asha import MultiObjectiveASHA
from results.front import dominates

ETA = 3
coordinates = st.integers(0, 6).map(float)
points = st.tuples(coordinates, coordinates)
several = st.lists(points, min_size=1, max_size=25)
distinct = st.lists(points, min_size=1, max_size=25, unique=True)


def goes_on_last(others, point, *, eta=ETA, ranges=(None, None)):
    """The decision on a point that comes after the others."""
    asha = MultiObjectiveASHA(min_epochs=1, max_epochs=9, eta=eta, ranges=ranges)
    for index, other in enumerate(others):
        asha.record(index, [other])
    return asha.record("last", [point])


def decisions(recorded, **settings):
    """What would be decided on each, had it come last."""
    return [goes_on_last(recorded[:i] + recorded[i + 1 :], point, **settings) for i, point in enumerate(recorded)]


def fronts_by_peeling(recorded):
    left = set(recorded)
    while left:
        front = {p for p in left if not any(dominates(q, p) for q in left)}
        yield front
        left -= front


def ahead_by_definition(own, recorded):
    """Counts, multiplicities included, all before a point: fronts by peeling, then farthest first on [0, 1] axes."""
    lows = [min(axis) for axis in zip(*recorded, strict=True)]
    spans = [max(axis) - low for axis, low in zip(zip(*recorded, strict=True), lows, strict=True)]

    def scaled(p):
        return [(v - low) / span if span else 0.0 for v, low, span in zip(p, lows, spans, strict=True)]

    before = 0
    for front in fronts_by_peeling(recorded):
        if own not in front:
            before += sum(recorded.count(p) for p in front)
            continue
        taken = [min(front)]
        while own not in taken:
            left = sorted(front - set(taken))
            gap = {p: min(dist(scaled(p), scaled(q)) for q in taken) for p in left}
            taken.append(max(left, key=lambda p, gap=gap: gap[p]))
        return before + sum(recorded.count(p) for p in taken[:-1])
    raise AssertionError


@given(several, points)
def test_decides_as_the_definition_says(others, point):
    recorded = [*others, point]
    places = max(1, len(recorded) // ETA)
    assert goes_on_last(others, point) == (ahead_by_definition(point, recorded) < places)


@given(several)
def test_whoever_dominates_all_goes_on(others):
    best = (min(a for a, _ in others) - 1, min(b for _, b in others) - 1)
    assert goes_on_last(others, best)


@given(several)
def test_whoever_all_dominate_is_stopped(others):
    worst = (max(a for a, _ in others) + 1, max(b for _, b in others) + 1)
    assert not goes_on_last(others, worst)


@given(several)
def test_the_best_in_the_first_objective_goes_on(others):
    best = min(others)
    assert goes_on_last(others, best)


@given(several)
def test_nobody_ranked_above_a_survivor_is_stopped(recorded):
    decided = decisions(recorded)
    for survivor, survives in zip(recorded, decided, strict=True):
        for point, goes_on in zip(recorded, decided, strict=True):
            assert not (survives and dominates(point, survivor) and not goes_on)


@given(distinct, st.sampled_from([2, 3, 4]))
def test_exactly_one_in_eta_of_distinct_results_would_go_on(recorded, eta):
    assert sum(decisions(recorded, eta=eta)) == max(1, len(recorded) // eta)


@given(several, points, st.randoms())
def test_the_order_of_arrival_does_not_matter(others, point, random):
    shuffled = random.sample(others, len(others))
    assert goes_on_last(others, point) == goes_on_last(shuffled, point)


@given(several)
def test_equal_results_are_decided_equally(recorded):
    decided = dict(zip(recorded, decisions(recorded), strict=True))
    assert decisions(recorded) == [decided[point] for point in recorded]


@given(several, points, st.sampled_from([2.0**-20, 0.5, 2.0**30]))
def test_units_do_not_matter(others, point, unit):
    def convert(p):
        return (p[0], p[1] * unit)

    given_range, converted_range = (0.0, 8.0), (0.0, 8.0 * unit)
    before = goes_on_last(others, point, ranges=(None, given_range))
    after = goes_on_last([convert(p) for p in others], convert(point), ranges=(None, converted_range))
    assert before == after


@given(st.lists(coordinates, min_size=1, max_size=20), coordinates, st.sampled_from([2, 3, 4]))
def test_with_one_objective_it_is_asha(others, value, eta):
    asha = MultiObjectiveASHA(min_epochs=1, max_epochs=9, eta=eta, ranges=(None,))
    for index, other in enumerate(others):
        asha.record(index, [(other,)])
    better = sum(other < value for other in others)
    assert asha.record("last", [(value,)]) == (better < max(1, (len(others) + 1) // eta))


def test_rungs_grow_by_eta_and_end_before_the_budget():
    asha = MultiObjectiveASHA(min_epochs=2, max_epochs=18, eta=3, ranges=(None, None))
    assert [rung.epochs for rung in asha.rungs] == [2, 6]


def test_between_rungs_everybody_goes_on():
    asha = MultiObjectiveASHA(min_epochs=1, max_epochs=9, eta=3, ranges=(None, None))
    for index in range(6):
        asha.record(index, [(0.0, 0.0)])
    assert not asha.record("bad", [(1.0, 1.0)])
    assert asha.record("bad", [(1.0, 1.0), (1.0, 1.0)])


def test_a_restored_curve_is_taken_in_at_every_rung_it_passed():
    asha = MultiObjectiveASHA(min_epochs=1, max_epochs=9, eta=3, ranges=(None, None))
    asha.record("restored", [(0.5, 1.0), (0.4, 1.0), (0.3, 1.0)])
    assert [dict(rung.recorded) for rung in asha.rungs] == [{"restored": (0.5, 1.0)}, {"restored": (0.3, 1.0)}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_epochs": 0, "max_epochs": 9, "eta": 3}, "min_epochs must be in"),
        ({"min_epochs": 10, "max_epochs": 9, "eta": 3}, "not 10"),
        ({"min_epochs": 1, "max_epochs": 9, "eta": 1}, "eta must be at least 2, not 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MultiObjectiveASHA(**settings, ranges=(None, None))
