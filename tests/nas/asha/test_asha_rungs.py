"""A rung's order against its definition."""

from math import inf, nan

import pytest
from asha_reference import (
    ahead_by_definition,
    best_by_definition,
    etas,
    samples,
    several,
    tie_names,
)
from hypothesis import given
from hypothesis import strategies as st

from nas.asha import TIES, Rung, epsilon_net, rung_levels


def filled(recorded, *, eta=3, ranges=None, ties="epsilon_net"):
    """A rung; what is recorded maps trials to losses, in the order of arrival."""
    recorded = recorded if isinstance(recorded, dict) else dict(enumerate(recorded))
    objectives = len(next(iter(recorded.values())))
    rung = Rung(1, eta=eta, ranges=ranges or (None,) * objectives, ties=TIES[ties])
    for trial, losses in recorded.items():
        rung.record(trial, losses)
    return rung


@given(samples(), etas, tie_names)
def test_stands_as_the_definition_says(recorded, eta, ties):
    rung = filled(recorded, eta=eta, ties=ties)
    for trial, losses in enumerate(recorded):
        ahead = ahead_by_definition(losses, recorded, ties=ties)
        assert rung.ahead_of(trial) == ahead
        assert rung.is_among_the_best(trial) == (ahead < max(1, len(recorded) // eta))


@given(several, tie_names)
def test_given_ranges_scale_the_axes(recorded, ties):
    ranges = ((0.0, 64.0), (-1.0, 7.0))
    rung = filled(recorded, ranges=ranges, ties=ties)
    for trial, losses in enumerate(recorded):
        assert rung.ahead_of(trial) == ahead_by_definition(losses, recorded, ranges=ranges, ties=ties)


@given(samples(), st.integers(0, 30), tie_names, st.sets(st.integers(0, 30)), st.randoms())
def test_the_best_are_those_of_the_full_order(vectors, places, ties, settled, random):
    recorded = dict(enumerate(vectors))
    shuffled = {trial: recorded[trial] for trial in random.sample(range(len(vectors)), len(vectors))}
    rung = filled(shuffled, ties=ties)
    expected = best_by_definition(recorded, places, ties=ties)
    assert rung.best(places) == expected
    for _ in range(2):
        for trial in settled:
            rung.settle(trial)
        assert rung.best(places) == [trial for trial in expected if trial not in settled]


@given(samples(), st.sets(st.integers(0, 30)))
def test_who_is_settled_before_being_recorded_is_never_listed(vectors, settled):
    rung = Rung(1, eta=3, ranges=(None,) * len(vectors[0]), ties=epsilon_net)
    for trial in settled:
        rung.settle(trial)
    for trial, losses in enumerate(vectors):
        rung.record(trial, losses)
    assert all(rung.is_settled(trial) == (trial in settled) for trial in range(40))
    full = best_by_definition(dict(enumerate(vectors)), len(vectors))
    assert rung.best(len(vectors)) == [trial for trial in full if trial not in settled]


@given(samples())
def test_all_that_hold_a_place_are_among_the_best(recorded):
    rung = filled(recorded)
    assert all(rung.is_among_the_best(trial) for trial in rung.best(max(1, len(recorded) // 3)))


def test_of_equal_losses_at_the_cut_the_lowest_number_comes_first():
    rung = filled({7: (1.0,), 3: (1.0,), 5: (1.0,), 9: (0.0,)}, eta=2)
    assert rung.best(2) == [9, 3]
    assert [rung.ahead_of(trial) for trial in (3, 5, 7)] == [1, 1, 1]
    assert all(rung.is_among_the_best(trial) for trial in (3, 5, 7))


@pytest.mark.parametrize("given_range", [None, (1.0, 1.0), (-1e308, 1e308)])
def test_an_axis_without_width_counts_for_nothing(given_range):
    vectors = [(0.0, 1.0, 9.0), (4.0, 1.0, 2.0), (1.0, 1.0, 8.0)]
    rung = filled(vectors, ranges=(None, given_range, None))
    assert rung.best(3) == [0, 1, 2]


def test_failures_do_not_widen_the_axes():
    vectors = [(0.0, 16.0), (1.0, 12.0), (8.0, 1.0), (16.0, 0.0), (inf, -1.0)]
    assert filled(vectors).best(5) == [0, 3, 2, 1, 4]


def test_integers_too_large_for_a_float_are_losses_too():
    rung = filled([(2**53 + 1,), (2**53 + 3,), (1,)])
    assert rung.best(3) == [2, 0, 1]


def test_a_trial_is_recorded_once():
    rung = filled([(1.0,)])
    with pytest.raises(ValueError, match="a trial is recorded at a rung once, and 0 has been at 1 epochs"):
        rung.record(0, (1.0,))


def test_what_is_refused_is_not_recorded():
    rung = Rung(1, eta=3, ranges=(None,), ties=epsilon_net)
    for losses, message in (((nan,), "losses must not be NaN"), ((1.0, 2.0), "there must be 1 losses")):
        with pytest.raises(ValueError, match=message):
            rung.record(0, losses)
    assert rung.recorded == {}
    assert rung.best(1) == []


@pytest.mark.parametrize(
    ("budget", "levels"),
    [((2, 18, 3), [2, 6]), ((1, 9, 3), [1, 3]), ((1, 10, 3), [1, 3, 9]), ((4, 4, 2), []), ((1, 2, 4), [1])],
)
def test_rungs_grow_by_eta_and_end_before_the_budget(budget, levels):
    assert rung_levels(*budget) == levels
