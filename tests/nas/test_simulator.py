"""A search in virtual time: its times add up, it is the same search as any other, and it can be cut anywhere."""

import random
from collections import Counter
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from nas.asha import Verdict
from nas.assembly import make_engine
from nas.config import parse_config
from nas.engine import Listener
from nas.plan import plan
from nas.record import Facts, StudyRecord
from nas.simulator import Curves, Loss, simulate
from search_space.architecture import Architecture

EPOCHS = 9
STOPPING = {"variant": "stopping", "eta": 3}
PROMOTION = {"variant": "promotion", "eta": 3}
VARIANTS = [None, STOPPING, {**STOPPING, "brackets": 2}, PROMOTION, {**PROMOTION, "brackets": 2}]


def configuration(asha=None, *, trials=24, sampler="random", objectives=("accuracy", "flops"), **resources):
    return parse_config(
        {
            "study": "simulated",
            "backbone": {"name": "resnet8", "options": {"width": 4}},
            "data": {"name": "digits"},
            "space": {"position": ["standard", "pre", "post", "identity"], "ratio": [1, 2, 4]},
            "search": {
                "trials": trials,
                "epochs": EPOCHS,
                "objectives": list(objectives),
                "sampler": sampler,
                "asha": asha,
            },
            "resources": resources,
        }
    )


def curve(architecture):
    """A power law to an end that every block improves, with each architecture's own luck."""
    luck = random.Random(architecture.id)
    effects = sum(random.Random(f"{name} {se.position}").uniform(-0.01, 0.03) for name, se in architecture.sites)
    end, steep = 0.8 + effects + luck.gauss(0, 0.02), luck.uniform(0.5, 1.5)
    return [{"accuracy": end - 0.4 * epoch**-steep + luck.gauss(0, 0.005)} for epoch in range(1, EPOCHS + 1)]


def seconds(architecture):
    return 1 + random.Random(f"{architecture.id} seconds").random()


CURVES = Curves(curve, seconds)


def trials_of(storage):
    (study,) = storage.get_all_studies()
    return storage.get_all_trials(study._study_id)


def architecture_of(trial):
    return Architecture.from_dict(trial.user_attrs["architecture"])


def contents(storage):
    """What a study says, without the clock's time."""
    return [(t.number, t.state, t.values, t.params, t.user_attrs, t.intermediate_values) for t in trials_of(storage)]


def finished(storage):
    return {t.user_attrs["architecture_id"] for t in trials_of(storage) if t.state == TrialState.COMPLETE}


def test_one_worker_takes_the_sum_of_all_epochs():
    storage = InMemoryStorage()
    found = simulate(configuration(STOPPING), CURVES, workers=1, storage=storage)
    each = [len(t.intermediate_values) * seconds(architecture_of(t)) for t in trials_of(storage)]
    assert found.seconds == pytest.approx(sum(each))
    assert found.utilisation == pytest.approx(1)
    assert found.epochs == sum(len(t.intermediate_values) for t in trials_of(storage))


@pytest.mark.parametrize("workers", [2, 5, 100])
def test_many_workers_take_the_next_trial_as_they_come_free(workers):
    storage = InMemoryStorage()
    found = simulate(configuration(), CURVES, workers=workers, storage=storage)
    each = [EPOCHS * seconds(architecture_of(t)) for t in trials_of(storage)]
    free, ends = [0.0] * workers, []
    for length in each:
        ends.append(heappop(free) + length)
        heappush(free, ends[-1])
    last = {event.trial: event.seconds for event in found.events}
    assert [last[number] for number in range(len(each))] == pytest.approx(ends)
    assert found.seconds == pytest.approx(max(ends))
    assert found.utilisation == pytest.approx(sum(each) / max(ends) / workers)


@pytest.mark.parametrize("sampler", ["random", "tpe", "evolution"])
@pytest.mark.parametrize("asha", [STOPPING, PROMOTION])
def test_a_seed_makes_one_simulation(asha, sampler):
    one, other = InMemoryStorage(), InMemoryStorage()
    first = simulate(configuration(asha, sampler=sampler), CURVES, workers=4, storage=one)
    assert simulate(configuration(asha, sampler=sampler), CURVES, workers=4, storage=other) == first
    assert contents(one) == contents(other)


@pytest.mark.parametrize("asha", VARIANTS)
def test_one_worker_makes_the_study_of_an_engine_driven_by_hand(asha):
    simulated, driven = InMemoryStorage(), InMemoryStorage()
    config = configuration(asha)
    simulate(config, CURVES, workers=1, storage=simulated)
    drive_by_hand(config, driven)
    assert contents(simulated) == contents(driven)


def drive_by_hand(config, storage):
    planned = plan(config)
    record = StudyRecord.open(storage, config, planned.objectives, Facts({}, {}, {}))
    engine = make_engine(planned, record, slots=lambda: 1)
    while (assignment := engine.next()) is not None:
        engine.started(assignment.number)
        whole = curve(assignment.architecture)
        epoch = assignment.epochs + 1
        while engine.report(assignment.number, whole[:epoch]) is Verdict.GO_ON:
            epoch += 1
    assert engine.finished


@pytest.mark.parametrize("workers", [1, 3, 16, 64])
@pytest.mark.parametrize("asha", VARIANTS)
def test_all_trials_come_to_an_end_with_any_number_of_workers(asha, workers):
    storage = InMemoryStorage()
    found = simulate(configuration(asha), CURVES, workers=workers, storage=storage)
    assert sum(found.states.values()) == 24
    assert found.states.keys() <= {"COMPLETE", "PRUNED"}
    complete = Counter(t.user_attrs["architecture_id"] for t in trials_of(storage) if t.state == TrialState.COMPLETE)
    assert set(complete.values()) == {1}
    assert [event.seconds for event in found.events] == sorted(event.seconds for event in found.events)
    assert max(Counter((event.trial, event.epoch) for event in found.events).values()) == 1
    assert 0 < found.utilisation <= 1 + 1e-9


class CutError(Exception):
    """The driver was killed."""


class Cuttable(InMemoryStorage):
    """Raises before, or just after, it has written so many times."""

    def __init__(self, writes, *, after):
        super().__init__()
        self.left, self._after = writes, after

    def _write(self, call, *arguments, **options):
        self.left -= 1
        if self.left == 0 and not self._after:
            raise CutError
        result = call(*arguments, **options)
        if self.left == 0:
            raise CutError
        return result

    def create_new_trial(self, *arguments, **options):
        return self._write(super().create_new_trial, *arguments, **options)

    def set_trial_user_attr(self, *arguments):
        return self._write(super().set_trial_user_attr, *arguments)

    def set_trial_intermediate_value(self, *arguments):
        return self._write(super().set_trial_intermediate_value, *arguments)

    def set_trial_state_values(self, *arguments, **options):
        return self._write(super().set_trial_state_values, *arguments, **options)


class Trained(Listener):
    def __init__(self):
        self.epochs = set()

    def progressed(self, number, history):
        self.epochs.add((number, len(history)))


@settings(max_examples=30)
@given(writes=st.integers(1, 250), after=st.booleans(), workers=st.integers(1, 6), asha=st.sampled_from(VARIANTS))
def test_a_search_that_is_cut_anywhere_goes_on(writes, after, workers, asha):
    storage, before = Cuttable(writes, after=after), Trained()
    try:
        simulate(configuration(asha), CURVES, workers=workers, storage=storage, listener=before)
    except CutError:
        storage.left = 0
    found = simulate(configuration(asha), CURVES, workers=workers, storage=storage)
    assert sum(found.states.values()) == 24
    assert found.states.keys() <= {"COMPLETE", "PRUNED"}
    assert max(Counter(t.user_attrs["architecture_id"] for t in trials_of(storage)).values()) == 1
    # The one whose report was being written as the cut came.
    again = before.epochs & {(event.trial, event.epoch) for event in found.events}
    assert len(again) <= 1
    assert {len(t.intermediate_values) for t in trials_of(storage) if t.state == TrialState.COMPLETE} == {EPOCHS}


@settings(max_examples=15)
@given(writes=st.integers(1, 300), after=st.booleans(), workers=st.integers(1, 6))
def test_cut_or_not_the_same_architectures_are_finished(writes, after, workers):
    whole, cut = InMemoryStorage(), Cuttable(writes, after=after)
    simulate(configuration(), CURVES, workers=3, storage=whole)
    try:
        simulate(configuration(), CURVES, workers=workers, storage=cut)
    except CutError:
        cut.left = 0
        simulate(configuration(), CURVES, workers=workers, storage=cut)
    assert finished(cut) == finished(whole)
    assert len(finished(cut)) == 24


@pytest.mark.parametrize("asha", VARIANTS)
def test_a_trial_whose_worker_is_lost_goes_on(asha):
    alone, storage = InMemoryStorage(), InMemoryStorage()
    whole = simulate(configuration(asha), CURVES, workers=1, storage=alone)
    cut = whole.events[1].seconds + 0.25  # a quarter of a second into an epoch, which takes at least one
    found = simulate(configuration(asha), CURVES, workers=1, storage=storage, losses=[Loss(cut, 0)])
    assert found.states == whole.states
    assert found.seconds == pytest.approx(whole.seconds + 0.25)
    assert found.epochs == whole.epochs
    assert finished(storage) == finished(alone)
    assert sum(len(t.user_attrs.get("lost", [])) for t in trials_of(storage)) == 1


def test_a_trial_whose_worker_is_lost_too_often_has_failed():
    storage = InMemoryStorage()
    losses = [Loss(0.5 * times, 0) for times in (1, 2, 3)]
    found = simulate(configuration(retries=2), CURVES, workers=1, storage=storage, losses=losses)
    failed = [t for t in trials_of(storage) if t.state == TrialState.FAIL]
    assert [t.number for t in failed] == [0]
    assert "3 times in a row" in failed[0].user_attrs["fail_reason"]
    assert found.states == {"COMPLETE": 23, "FAIL": 1}
    assert found.seconds > found.epochs  # the time of lost epochs counts


def test_only_what_a_lost_worker_was_training_is_lost():
    losses = [Loss(1e6, 0), Loss(0.5, 4)]
    config = configuration(trials=3)
    assert simulate(config, CURVES, workers=5, losses=losses) == simulate(config, CURVES, workers=5)


def test_a_trial_whose_curve_ends_too_early_has_failed():
    storage = InMemoryStorage()
    found = simulate(configuration(trials=3), Curves(lambda a: curve(a)[:4], seconds), workers=2, storage=storage)
    assert found.states == {"FAIL": 3}
    assert found.epochs == 12
    assert {t.user_attrs["fail_reason"] for t in trials_of(storage)} == {"its curve ends after epoch 4"}


def test_a_latency_that_is_an_objective_is_measured_once():
    asked = []

    def latency(architecture):
        asked.append(architecture.id)
        return seconds(architecture) / 100

    config = configuration(PROMOTION, objectives=["accuracy", "latency"])
    storage = InMemoryStorage()
    simulate(config, Curves(curve, seconds, latency), workers=3, storage=storage)
    assert max(Counter(asked).values()) == 1
    complete = [t for t in trials_of(storage) if t.state == TrialState.COMPLETE]
    assert all(t.values[1] == seconds(architecture_of(t)) / 100 for t in complete)


def test_there_must_be_a_worker():
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        simulate(configuration(), CURVES, workers=0)
