"""The stopping variant against its definition, and by its properties."""

from math import inf, nan
from random import Random

import pytest
from asha_reference import (
    GO_ON,
    STOP,
    ahead_by_definition,
    beats,
    coordinates,
    etas,
    increasing,
    peeled,
    points,
    samples,
    several,
    tie_names,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from nas.asha import TIES, PromotionASHA, StoppingASHA

VARIANTS = [StoppingASHA, PromotionASHA]


def stopping(objectives=2, *, eta=3, ranges=None, ties="epsilon_net", max_epochs=9):
    ranges = ranges or (None,) * objectives
    return StoppingASHA(min_epochs=1, max_epochs=max_epochs, eta=eta, ranges=ranges, ties=TIES[ties])


def last_of(others, point, **settings):
    """The search in which a point has come after the others, and what was decided on it."""
    asha = stopping(len(point), **settings)
    for trial, other in enumerate(others):
        asha.record(trial, [other])
    return asha, asha.record(len(others), [point])


def goes_on_last(others, point, **settings):
    return last_of(others, point, **settings)[1] is GO_ON


def decisions(recorded, **settings):
    """What would be decided on each, had it come last."""
    return [goes_on_last(recorded[:i] + recorded[i + 1 :], point, **settings) for i, point in enumerate(recorded)]


@given(samples(), etas, tie_names)
def test_decides_as_the_definition_says(recorded, eta, ties):
    point = recorded[-1]
    asha, verdict = last_of(recorded[:-1], point, eta=eta, ties=ties)
    ahead = ahead_by_definition(point, recorded, ties=ties)
    assert verdict is (GO_ON if ahead < max(1, len(recorded) // eta) else STOP)
    assert asha.standing(len(recorded) - 1) == ahead / len(recorded)


@given(samples(), tie_names)
def test_whoever_dominates_all_goes_on(others, ties):
    best = tuple(min((v for v in axis if v < inf), default=0.0) - 1 for axis in zip(*others, strict=True))
    asha, verdict = last_of(others, best, ties=ties)
    assert verdict is GO_ON
    assert asha.standing(len(others)) == 0.0


@given(samples(), tie_names)
def test_whoever_all_dominate_is_stopped(others, ties):
    others = [tuple(min(v, 7.0) for v in p) for p in others]
    worst = tuple(max(axis) + 1 for axis in zip(*others, strict=True))
    assert not goes_on_last(others, worst, ties=ties)
    assert not goes_on_last(others, (inf,) * len(worst), ties=ties)


@given(points)
def test_the_first_goes_on(point):
    assert goes_on_last([], point)


@given(several, tie_names)
def test_the_best_in_the_first_objective_goes_on(others, ties):
    assert goes_on_last(others, min(others), ties=ties)


@given(several, tie_names)
def test_nobody_ranked_above_a_survivor_is_stopped(recorded, ties):
    decided = decisions(recorded, ties=ties)
    for survivor, survives in zip(recorded, decided, strict=True):
        for point, goes_on in zip(recorded, decided, strict=True):
            assert not (survives and beats(point, survivor) and not goes_on)


@given(st.lists(points, min_size=1, max_size=25, unique=True), etas, tie_names)
def test_exactly_one_in_eta_of_distinct_results_would_go_on(recorded, eta, ties):
    assert sum(decisions(recorded, eta=eta, ties=ties)) == max(1, len(recorded) // eta)


@given(samples(min_size=2), tie_names, st.randoms())
def test_the_order_of_arrival_does_not_matter(recorded, ties, random):
    *others, point = recorded
    shuffled = random.sample(others, len(others))
    assert goes_on_last(others, point, ties=ties) == goes_on_last(shuffled, point, ties=ties)


@given(samples(), tie_names)
def test_equal_results_are_decided_equally(recorded, ties):
    asha = stopping(len(recorded[0]), ties=ties)
    for trial, point in enumerate(recorded):
        asha.record(trial, [point])
    decided = dict(zip(recorded, decisions(recorded, ties=ties), strict=True))
    # Whichever of equal values came first, and whichever came last.
    assert [asha.may_go_on(trial) for trial in range(len(recorded))] == [decided[point] for point in recorded]


@given(several, points, tie_names, st.sampled_from([2.0**-20, 0.5, 3.0, 2.0**30]))
def test_units_do_not_matter(others, point, ties, unit):
    def convert(p):
        return (p[0], p[1] * unit)

    def both(second_range):
        return {"ranges": (None, second_range), "ties": ties}

    converted = [convert(p) for p in others], convert(point)
    assert goes_on_last(others, point, **both((0.0, 8.0))) == goes_on_last(*converted, **both((0.0, 8.0 * unit)))
    assert goes_on_last(others, point, **both(None)) == goes_on_last(*converted, **both(None))


@given(samples(), etas, tie_names, st.data())
def test_increasing_transforms_matter_only_where_the_cut_is_within_the_front(recorded, eta, ties, data):
    """A strictly increasing transform of every axis changes no rank.

    So unless better fronts leave a place, but not one for each of a trial's own front, it changes no decision on it.
    """
    transforms = [increasing(data.draw) for _ in recorded[0]]
    images = [tuple(f(v) for f, v in zip(transforms, p, strict=True)) for p in recorded]
    image_of = dict(zip(recorded, images, strict=True))
    fronts = peeled(recorded)
    assert peeled(images) == [{image_of[p] for p in front} for front in fronts]

    *others, point = recorded
    places = max(1, len(recorded) // eta)
    rank = next(rank for rank, front in enumerate(fronts) if point in front)
    better = sum(p in front for front in fronts[:rank] for p in recorded)
    size = sum(p in fronts[rank] for p in recorded)
    assume(not better < places < better + size)
    before = goes_on_last(others, point, eta=eta, ties=ties)
    assert before == goes_on_last(images[:-1], images[-1], eta=eta, ties=ties) == (better < places)


class PlainStopping:
    """ASHA's stopping rule for one loss: at a rung a trial goes on if it is no worse than the places-th best."""

    def __init__(self, rungs, eta):
        self.rungs = {epochs: {} for epochs in rungs}
        self.eta = eta

    def decide(self, trial, epochs, loss):
        if epochs not in self.rungs:
            return GO_ON
        recorded = self.rungs[epochs]
        recorded[trial] = loss
        top = sorted(recorded.values())[: max(1, len(recorded) // self.eta)]
        return GO_ON if loss <= top[-1] else STOP


@given(st.lists(st.tuples(st.integers(0, 7), coordinates | st.just(inf)), max_size=120), etas)
def test_with_one_objective_it_is_asha(reports, eta):
    asha = stopping(1, eta=eta, max_epochs=16)
    plain = PlainStopping([epochs for epochs in (1, eta, eta**2, eta**3) if epochs < 16], eta)
    curves = {}
    for trial, loss in reports:
        curve = curves.setdefault(trial, [])
        curve.append((loss,))
        assert asha.record(trial, curve) is plain.decide(trial, len(curve), loss)
    assert asha.counts == {epochs: len(recorded) for epochs, recorded in plain.rungs.items()}


@pytest.mark.parametrize("eta", [2, 3, 4])
@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_about_one_in_eta_goes_on(eta, objectives):
    random = Random(f"{eta} {objectives}")
    asha = stopping(objectives, eta=eta)
    n = 3000
    verdicts = [asha.record(trial, [tuple(random.random() for _ in range(objectives))]) for trial in range(n)]
    assert verdicts.count(GO_ON) / n == pytest.approx(1 / eta, abs=0.03)


def test_between_rungs_everybody_goes_on():
    asha = stopping()
    for trial in range(6):
        asha.record(trial, [(0.0, 0.0)])
    assert asha.record(6, [(1.0, 1.0)]) is STOP
    assert asha.record(6, [(1.0, 1.0), (1.0, 1.0)]) is GO_ON


def test_a_restored_curve_is_taken_in_at_every_rung_it_passed():
    asha = stopping()
    asha.record(0, [(0.5, 1.0), (0.4, 1.0), (0.3, 1.0)])
    assert asha.counts == {1: 1, 3: 1}
    # Worse than the restored at three epochs, though not at one; better than it at three.
    assert asha.record(1, [(0.4, 1.0)] * 3) is STOP
    assert asha.record(2, [(0.3, 0.9)] * 3) is GO_ON


def test_the_verdict_is_that_of_the_last_rung_newly_reached():
    asha = stopping()
    asha.record(0, [(0.0, 0.0), (0.0, 0.0), (5.0, 5.0)])
    assert asha.record(1, [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0)]) is GO_ON


def test_the_budget_is_no_rung():
    asha = stopping()
    asha.record(0, [(0.0, 0.0)] * 9)
    assert asha.counts == {1: 1, 3: 1}
    assert stopping(max_epochs=1).record(0, [(0.0, 0.0)]) is GO_ON


def test_nothing_is_promoted():
    asha = stopping()
    for trial in range(9):
        asha.record(trial, [(float(trial), 0.0)])
    asha.withdraw(3)
    assert (asha.has_promotable, asha.promote()) == (False, None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_standing_is_that_of_the_highest_rung(variant):
    asha = variant(min_epochs=1, max_epochs=9, eta=3, ranges=(None,))
    assert (asha.standing(0), asha.may_go_on(0)) == (0.0, True)
    for trial in range(4):
        asha.record(trial, [(float(trial),)])
    assert [asha.standing(trial) for trial in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert [asha.may_go_on(trial) for trial in range(4)] == [True, False, False, False]
    asha.record(3, [(3.0,)] * 3)
    assert (asha.standing(3), asha.may_go_on(3)) == (0.0, True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_epochs": 0}, r"min_epochs must be in \[1, max_epochs = 9\], not 0"),
        ({"min_epochs": 10}, r"min_epochs must be in \[1, max_epochs = 9\], not 10"),
        ({"eta": 1}, "eta must be at least 2, not 1"),
        ({"ranges": ()}, "ranges must have an entry for each objective, and there must be at least 1, not 0"),
        ({"ranges": (None, (2.0, 1.0))}, r"a range must be \(low, high\) with low <= high, not \(2.0, 1.0\)"),
        ({"ranges": ((nan, 1.0),)}, r"a range must be \(low, high\) with low <= high, not \(nan, 1.0\)"),
    ],
)
def test_settings_out_of_range_are_refused(variant, settings, message):
    with pytest.raises(ValueError, match=message):
        variant(**{"min_epochs": 1, "max_epochs": 9, "eta": 3, "ranges": (None, None)} | settings)


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_that_do_not_compare_are_refused(variant):
    asha = variant(min_epochs=1, max_epochs=9, eta=3, ranges=(None, None))
    for losses, message in (((0.0, nan), "losses must not be NaN"), ((0.0,), "there must be 2 losses")):
        with pytest.raises(ValueError, match=message):
            asha.record(0, [losses])
    assert asha.counts == {1: 0, 3: 0}
