"""The promotion variant against Algorithm 2 of arXiv 1810.05934, and by its properties."""

from random import Random

import pytest
from asha_reference import (
    GO_ON,
    PAUSE,
    best_by_definition,
    coordinates,
    etas,
    failing_coordinates,
    points,
    tie_names,
    vectors,
)
from hypothesis import given
from hypothesis import strategies as st

from nas.asha import TIES, Brackets, PromotionASHA

LEVELS = (1, 3, 9)


def promotion(objectives=2, *, eta=3, ties="epsilon_net", max_epochs=27, brackets=1):
    ranges = (None,) * objectives
    return PromotionASHA(
        min_epochs=1, max_epochs=max_epochs, eta=eta, ranges=ranges, ties=TIES[ties], brackets=brackets
    )


class PlainPromotion:
    """Algorithm 2's get_job, with the top 1 / eta of a rung by definition."""

    def __init__(self, levels, eta, **settings):
        self.rungs = {epochs: {} for epochs in levels}
        self.promoted = {epochs: set() for epochs in levels}
        self.eta, self.settings = eta, settings

    def record(self, trial, epochs, losses):
        self.rungs[epochs][trial] = losses

    def get_job(self):
        for epochs, recorded in sorted(self.rungs.items(), reverse=True):
            top = best_by_definition(recorded, len(recorded) // self.eta, **self.settings)
            for trial in top:
                if trial not in self.promoted[epochs]:
                    self.promoted[epochs].add(trial)
                    return trial
        return None


class Searching:
    """A search that trains a trial from rung to rung; the losses of a rung are drawn when it gets there."""

    def __init__(self, asha, levels, budget):
        self.asha, self.levels, self.budget = asha, levels, budget
        self.curves = {}
        self.promotions = []

    def train(self, trial, losses):
        """Trains to the next rung, or to the end; where it has got to and the verdict there."""
        curve = self.curves.setdefault(trial, [])
        goal = next((epochs for epochs in self.levels if epochs > len(curve)), self.budget)
        while len(curve) < goal:
            curve.append(losses)
            verdict = self.asha.record(trial, curve)
            assert verdict is (PAUSE if len(curve) in self.levels else GO_ON)
        return goal

    def promote(self):
        assert self.asha.has_promotable == self.asha.has_promotable
        ready = self.asha.has_promotable
        trial = self.asha.promote()
        assert (trial is not None) == ready
        if trial is not None:
            self.promotions.append((trial, len(self.curves[trial])))
        return trial


def traces(vector):
    """What workers do: start a trial, ask for a promotion, or finish a promoted one, with losses and which."""
    return st.lists(st.tuples(st.sampled_from(["start", "start", "promote", "finish"]), vector, st.integers(0)))


def follows_the_plain_reference(trace, asha, plain, levels, budget):
    search = Searching(asha, levels, budget)
    running = []
    for what, losses, which in trace:
        if what == "promote":
            trial = search.promote()
            assert trial == plain.get_job()
            running += [] if trial is None else [trial]
            continue
        if what == "start":
            trial = len(search.curves)
        elif running:
            trial = running.pop(which % len(running))
        else:
            continue
        reached = search.train(trial, losses)
        if reached in levels:
            plain.record(trial, reached, losses)
    while (trial := search.promote()) is not None:
        assert trial == plain.get_job()
    assert plain.get_job() is None
    assert len(set(search.promotions)) == len(search.promotions)
    assert asha.counts == {epochs: len(recorded) for epochs, recorded in plain.rungs.items()}


@given(traces(vectors(1, failing_coordinates)), etas)
def test_with_one_objective_it_is_algorithm_2(trace, eta):
    levels = tuple(eta**k for k in range(3))
    asha = promotion(1, eta=eta, max_epochs=eta**3)
    follows_the_plain_reference(trace, asha, PlainPromotion(levels, eta), levels, eta**3)


@given(traces(vectors(2, failing_coordinates)), tie_names)
def test_with_two_objectives_it_is_algorithm_2_in_the_full_order(trace, ties):
    follows_the_plain_reference(trace, promotion(ties=ties), PlainPromotion(LEVELS, 3, ties=ties), LEVELS, 27)


def searched(trace, number):
    """A search with brackets, at a time when every trial promoted has trained to its next rung."""
    search = Searching(promotion(brackets=number), LEVELS, 27)
    of = Brackets(min_epochs=1, max_epochs=27, eta=3, brackets=number)
    for what, losses, _ in trace:
        trial = search.promote() if what == "promote" else len(search.curves)
        if trial is not None:
            search.levels = of.levels[of.of(trial)]
            search.train(trial, losses)
    return search


def drained(asha):
    promoted = []
    while asha.has_promotable:
        promoted.append(asha.promote())
    assert asha.promote() is None
    return promoted


@given(traces(points), st.integers(1, 3), st.sets(st.integers(0, 20)), st.lists(points, max_size=20), st.randoms())
def test_a_search_rebuilt_from_whole_curves_promotes_the_same(trace, number, withdrawn, arrivals, random):
    search = searched(trace, number)
    rebuilt = promotion(brackets=number)
    trials = list(search.curves)
    for trial in random.sample(trials, len(trials)):
        rebuilt.record(trial, search.curves[trial])
    for trial in withdrawn:
        search.asha.withdraw(trial)
        rebuilt.withdraw(trial)
    assert rebuilt.counts == search.asha.counts
    for trial, losses in enumerate(arrivals, start=len(trials)):
        for asha in (search.asha, rebuilt):
            asha.record(trial, [losses] * 9)
        assert rebuilt.promote() == search.asha.promote()
    assert drained(rebuilt) == drained(search.asha)


@given(st.lists(st.tuples(st.booleans(), points, st.integers(0, 40)), max_size=60))
def test_nobody_is_promoted_twice_from_a_rung_nor_withdrawn(steps):
    asha = promotion()
    withdrawn, promoted, trial = set(), set(), 0
    for arrives, losses, other in steps:
        if arrives:
            verdict = asha.record(trial, [losses])
            assert verdict is (GO_ON if trial in withdrawn else PAUSE)
            trial += 1
        else:
            asha.withdraw(other)
            withdrawn.add(other)
        ready = asha.promote()
        assert ready not in promoted | withdrawn
        if ready is not None:
            promoted.add(ready)


@pytest.mark.parametrize("eta", [2, 3, 4])
@pytest.mark.parametrize("objectives", [1, 2])
def test_about_one_in_eta_is_promoted(eta, objectives):
    random = Random(f"{eta} {objectives}")
    asha = promotion(objectives, eta=eta, max_epochs=2)
    n, promoted = 3000, 0
    for trial in range(n):
        asha.record(trial, [tuple(random.random() for _ in range(objectives))])
        while asha.promote() is not None:
            promoted += 1
    assert n // eta <= promoted
    assert promoted / n == pytest.approx(1 / eta, abs=0.04)


@given(st.lists(coordinates, min_size=1, max_size=30), etas)
def test_what_came_all_at_once_is_promoted_best_first(values, eta):
    asha = promotion(1, eta=eta, max_epochs=2)
    for trial, value in enumerate(values):
        asha.record(trial, [(value,)])
    assert drained(asha) == sorted(range(len(values)), key=values.__getitem__)[: len(values) // eta]


def test_nothing_is_promoted_before_eta_are_recorded():
    asha = promotion(1)
    for trial in range(2):
        assert asha.record(trial, [(float(trial),)]) is PAUSE
        assert asha.promote() is None
    asha.record(2, [(2.0,)])
    assert asha.promote() == 0


def test_the_highest_rung_comes_first():
    asha = promotion(1)
    for trial in range(6):
        asha.record(trial, [(float(trial),)])
    for trial in range(3, 6):
        asha.record(trial, [(float(trial),)] * 3)
    assert [asha.promote() for _ in range(4)] == [3, 0, 1, None]


def test_a_place_given_to_the_withdrawn_is_not_given_to_others():
    asha = promotion(1)
    for trial in range(6):
        asha.record(trial, [(float(trial),)])
    assert asha.has_promotable
    asha.withdraw(0)
    assert [asha.promote() for _ in range(2)] == [1, None]
    assert asha.standing(1) == 1 / 6
    assert asha.counts == {1: 6, 3: 0, 9: 0}


def test_whoever_goes_on_unasked_is_no_candidate():
    asha = promotion(1)
    for trial in range(3):
        asha.record(trial, [(float(trial),)])
    assert asha.record(0, [(0.0,)] * 2) is GO_ON
    assert not asha.has_promotable


def test_a_curve_that_goes_past_a_rung_is_not_paused_at_it():
    asha = promotion(1)
    assert asha.record(0, [(0.0,)] * 2) is GO_ON
    assert asha.record(1, [(0.0,)] * 3) is PAUSE
    assert asha.record(1, [(0.0,)] * 3) is GO_ON


def test_the_withdrawn_are_never_paused():
    asha = promotion(1)
    asha.withdraw(0)
    assert [asha.record(0, [(0.0,)] * epochs) for epochs in (1, 2, 3)] == [GO_ON] * 3
    assert asha.counts == {1: 1, 3: 1, 9: 0}
