"""Who is in which bracket, and that brackets do not mix."""

import pytest
from asha_reference import GO_ON, PAUSE, STOP, points
from hypothesis import given
from hypothesis import strategies as st

from nas.asha import Brackets, PromotionASHA, StoppingASHA

SETTINGS = {"min_epochs": 1, "max_epochs": 27, "eta": 3}


def test_each_bracket_starts_a_rung_later():
    assert Brackets(**SETTINGS, brackets=3).levels == ((1, 3, 9), (3, 9), (9,))


def test_shares_are_those_of_hyperband():
    # ceil((K + 1) / (h + 1) * eta^h) for K = 3 and h = 3, 2, 1 is 27, 12, 6.
    assert Brackets(**SETTINGS, brackets=3).shares == pytest.approx([27 / 45, 12 / 45, 6 / 45])
    assert Brackets(**SETTINGS, brackets=2).shares == pytest.approx([27 / 39, 12 / 39])
    assert Brackets(**SETTINGS).shares == (1.0,)


@given(st.integers(0, 10**6), st.integers(1, 2000), st.integers(1, 3))
def test_any_stretch_of_trials_is_shared_so(first, n, number):
    brackets = Brackets(**SETTINGS, brackets=number)
    held = [brackets.of(trial) for trial in range(first, first + n)]
    for bracket, share in enumerate(brackets.shares):
        assert abs(held.count(bracket) - share * n) < 6


@given(st.lists(st.integers(0, 10**9)), st.integers(1, 3))
def test_a_bracket_follows_from_the_number(trials, number):
    brackets, again = Brackets(**SETTINGS, brackets=number), Brackets(**SETTINGS, brackets=number)
    expected = {trial: brackets.of(trial) for trial in trials}
    assert {trial: again.of(trial) for trial in reversed(trials)} == expected


def test_the_assignment_of_searches_on_disk_stays():
    brackets = Brackets(**SETTINGS, brackets=3)
    assert [brackets.of(trial) for trial in range(20)] == [0, 1, 0, 1, 0, 0, 1, 0, 2, 0, 0, 1, 0, 0, 1, 0, 2, 0, 0, 1]


@given(st.integers(0, 10**9))
def test_one_bracket_holds_all(trial):
    assert Brackets(**SETTINGS).of(trial) == 0
    assert Brackets(min_epochs=9, max_epochs=9, eta=3).levels == ((),)


@given(st.lists(points, min_size=1, max_size=40), st.sampled_from([StoppingASHA, PromotionASHA]))
def test_brackets_decide_independently(arrivals, variant):
    together = variant(**SETTINGS, ranges=(None, None), brackets=3)
    brackets = Brackets(**SETTINGS, brackets=3)
    alone = [variant(**SETTINGS | {"min_epochs": 3**bracket}, ranges=(None, None)) for bracket in range(3)]
    for trial, losses in enumerate(arrivals):
        own = alone[brackets.of(trial)]
        curve = [losses] * (1 + trial % 9)
        assert together.record(trial, curve) == own.record(trial, curve)
        assert together.standing(trial) == own.standing(trial)
        assert together.may_go_on(trial) == own.may_go_on(trial)
    assert together.counts == {epochs: sum(asha.counts.get(epochs, 0) for asha in alone) for epochs in (1, 3, 9)}
    promoted = [together.promote() for _ in arrivals]
    expected = [asha.promote() for asha in alone for _ in arrivals]
    assert set(promoted) == set(expected)


@pytest.mark.parametrize(("variant", "verdict"), [(StoppingASHA, STOP), (PromotionASHA, PAUSE)])
def test_a_later_bracket_leaves_early_epochs_alone(variant, verdict):
    asha = variant(**SETTINGS, ranges=(None,), brackets=3)
    brackets = Brackets(**SETTINGS, brackets=3)
    second = [trial for trial in range(30) if brackets.of(trial) == 1]
    asha.record(second[0], [(0.0,)] * 3)
    assert [asha.record(second[1], [(1.0,)] * epochs) for epochs in (1, 2, 3, 4)] == [GO_ON, GO_ON, verdict, GO_ON]
    assert asha.counts == {1: 0, 3: 2, 9: 0}


def test_rungs_of_equal_epochs_are_gone_through_from_the_lowest_bracket():
    asha = PromotionASHA(**SETTINGS, ranges=(None,), brackets=3)
    brackets = Brackets(**SETTINGS, brackets=3)
    of = {bracket: [t for t in range(60) if brackets.of(t) == bracket][:3] for bracket in range(3)}
    for bracket in (2, 1, 0):
        for trial in of[bracket]:
            for epochs in brackets.levels[bracket]:
                asha.record(trial, [(1.0,)] * epochs)
    promoted = []
    while asha.has_promotable:
        promoted.append(asha.promote())
    # Nine epochs, lowest bracket first; the rungs below hold only trials that have gone past them.
    assert promoted == [min(of[0]), min(of[1]), min(of[2])]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"brackets": 4}, r"brackets must be in \[1, 3\], one for each rung level, not 4"),
        ({"brackets": 0}, r"brackets must be in \[1, 3\], one for each rung level, not 0"),
        ({"brackets": 2, "min_epochs": 27}, r"brackets must be in \[1, 1\], one for each rung level, not 2"),
    ],
)
@pytest.mark.parametrize("variant", [StoppingASHA, PromotionASHA])
def test_more_brackets_than_rungs_are_refused(variant, settings, message):
    with pytest.raises(ValueError, match=message):
        variant(**SETTINGS | settings, ranges=(None,))
