"""The engine driven by hand: what it gives out, what it records, and how it goes on."""

import dataclasses
import json

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from nas.asha import Verdict
from nas.assembly import make_engine
from nas.config import parse_config
from nas.driver import _as_begun
from nas.engine import Listener
from nas.plan import plan
from nas.record import Facts, StudyDeletedError, StudyRecord
from nas.storage import open_storage, writing_engine
from nas.trial_rows import create_by_rows
from search_space.errors import InputError

EPOCHS = 8
FACTS = Facts({"mean": [0.5]}, {"training": "a", "validation": "b"}, {"host": "here"})


class Searched:
    """A search in memory, whose engine can be made again from its study."""

    def __init__(self, slots=2, space=None, **search):
        settings = {"trials": 12, "epochs": EPOCHS, "sampler": "random", "asha": None, **search}
        self.config = parse_config(
            {
                "study": "driven",
                "backbone": {"name": "resnet8", "options": {"width": 4}},
                "data": {"name": "digits"},
                "space": space or {"position": ["standard", "pre", "post", "identity"], "ratio": [1, 2, 4]},
                "search": settings,
                "resources": {"retries": 1},
            }
        )
        self.storage = InMemoryStorage()
        self.planned = plan(self.config)
        self.slots = slots
        self.heard = Heard()
        self.again()

    def again(self, **search):
        """Another engine on the same study, as after a stop."""
        changed = self.config.search.model_copy(update=search)
        self.config = self.config.model_copy(update={"search": changed})
        planned = dataclasses.replace(self.planned, config=self.config)
        record = StudyRecord.open(self.storage, self.config, planned.objectives, FACTS)
        self.engine = make_engine(planned, record, slots=lambda: self.slots, listener=self.heard)

    def trials(self):
        (study,) = self.storage.get_all_studies()
        return self.storage.get_all_trials(study._study_id)

    def states(self):
        return [trial.state.name for trial in self.trials()]

    def start(self):
        assignment = self.engine.next()
        if assignment is not None:
            self.engine.started(assignment.number)
        return assignment

    def train(self, assignment, accuracy=0.5, until=EPOCHS):
        """Reports epoch by epoch until the assignment is over; gives the last verdict."""
        for epoch in range(assignment.epochs + 1, until + 1):
            verdict = self.engine.report(assignment.number, history(epoch, accuracy))
            if verdict is not Verdict.GO_ON:
                break
        return verdict

    def run(self, accuracy=lambda number: 0.5):
        while (assignment := self.start()) is not None:
            self.train(assignment, accuracy(assignment.number))


class Heard(Listener):
    def __init__(self):
        self.said = []

    def lost(self, number, reason):
        self.said.append(("lost", number))

    def paused(self, number):
        self.said.append(("paused", number))

    def ended(self, number, ending):
        self.said.append((ending.state, number))


def history(epochs, accuracy=0.5):
    return [{"accuracy": accuracy, "loss": 1.0}] * epochs


def test_as_many_start_at_once_as_there_is_room_for():
    searched = Searched(slots=5)
    numbers = [searched.start().number for _ in range(5)]
    assert numbers == [0, 1, 2, 3, 4]
    assert searched.engine.next() is None
    assert not searched.engine.finished
    searched.train(searched.engine._running[3])
    assert searched.start().number == 5


def test_room_that_comes_later_is_used():
    searched = Searched(slots=1)
    assert searched.start() is not None
    assert searched.start() is None
    searched.slots = 3
    assert searched.start() is not None
    assert searched.start() is not None
    assert searched.start() is None


def test_baselines_come_first_are_marked_and_are_never_stopped():
    searched = Searched(asha={"eta": 2})
    searched.run(accuracy=lambda number: 0.0 if number < 6 else 0.9 - number / 100)
    baselines = [trial for trial in searched.trials() if "baseline" in trial.user_attrs]
    assert [trial.number for trial in baselines] == list(range(6))
    assert {trial.state for trial in baselines} == {TrialState.COMPLETE}
    assert "PRUNED" in searched.states()


@pytest.mark.parametrize("variant", ["stopping", "promotion"])
def test_a_search_ends_with_every_trial_ended_and_each_architecture_once(variant):
    searched = Searched(trials=30, asha={"variant": variant, "eta": 2})
    searched.run(accuracy=lambda number: (number * 7 % 11) / 11)
    assert len(searched.trials()) == 30
    assert set(searched.states()) == {"COMPLETE", "PRUNED"}
    assert len({trial.user_attrs["architecture_id"] for trial in searched.trials()}) == 30
    assert searched.engine.finished
    assert not searched.engine.has_work
    for trial in searched.trials():
        if trial.state == TrialState.COMPLETE:
            assert len(trial.intermediate_values) == EPOCHS
            assert trial.values == [trial.intermediate_values[EPOCHS], trial.user_attrs["flops"]]
        else:
            assert trial.values is None
            assert len(trial.intermediate_values) in (1, 2, 4)


def test_what_is_promoted_comes_before_what_is_new():
    searched = Searched(slots=1, trials=20, asha={"variant": "promotion", "eta": 2})
    for _ in range(6):  # the baselines
        searched.train(searched.start())
    first = searched.start()
    assert searched.train(first, accuracy=0.9) is Verdict.PAUSE
    assert ("paused", first.number) in searched.heard.said
    back = searched.start()
    assert (back.number, back.epochs) == (first.number, 1)


def test_a_drained_search_goes_on_where_it_was():
    searched = Searched(trials=8)
    a, b = searched.start(), searched.start()
    searched.train(a, until=3)
    searched.engine.drain()
    assert searched.engine.next() is None
    assert searched.engine.report(a.number, history(4)) is Verdict.PAUSE
    assert searched.engine.report(b.number, history(1)) is Verdict.PAUSE
    assert searched.engine.finished
    assert searched.states() == ["RUNNING", "RUNNING"]
    searched.again()
    back = [searched.start(), searched.start()]
    assert [(x.number, x.epochs) for x in back] == [(0, 4), (1, 1)]
    assert [x.architecture for x in back] == [a.architecture, b.architecture]
    for assignment in back:
        searched.train(assignment)
    searched.run()
    assert set(searched.states()) == {"COMPLETE"}


def test_a_lost_trial_goes_on_at_once_and_fails_when_it_is_lost_in_a_row_without_an_epoch():
    searched = Searched(slots=1)
    for epoch in (2, 4):  # each time with an epoch done since
        assignment = searched.start()
        searched.train(assignment, until=epoch)
        searched.engine.lose(assignment.number, "gone")
    assignment = searched.start()
    assert (assignment.number, assignment.epochs) == (0, 4)
    searched.engine.lose(assignment.number, "gone")
    assert searched.states() == ["FAIL"]
    assert searched.trials()[0].user_attrs["fail_reason"] == "gone (2 times in a row at epoch 5)"
    assert searched.heard.said == [("lost", 0), ("lost", 0), ("FAIL", 0)]
    assert searched.start().number == 1


def test_how_often_a_trial_was_lost_is_remembered_in_the_study():
    searched = Searched(slots=1)
    searched.engine.lose(searched.start().number, "gone")
    searched.again()
    searched.engine.lose(searched.start().number, "gone")
    assert searched.states() == ["FAIL"]


def test_a_failure_ends_its_trial_alone():
    searched = Searched(trials=8)
    broken = searched.start()
    searched.train(broken, until=2)
    searched.engine.fail(broken.number, "the loss is nan", "Traceback ...")
    searched.run()
    assert searched.states() == ["FAIL"] + 7 * ["COMPLETE"]
    (failed, *_) = searched.trials()
    assert failed.user_attrs["fail_reason"] == "the loss is nan"
    assert failed.user_attrs["traceback"] == "Traceback ..."
    assert len(failed.intermediate_values) == 2


def test_a_halted_search_gives_out_nothing_and_goes_on_when_it_is_started_again():
    searched = Searched(trials=8)
    a, b = searched.start(), searched.start()
    searched.engine.halt(a.number, "no space")
    assert searched.engine.halted == "no space"
    assert searched.engine.next() is None
    assert searched.engine.report(b.number, history(1)) is Verdict.PAUSE
    assert searched.engine.finished
    searched.again()
    searched.run()
    assert set(searched.states()) == {"COMPLETE"}


def test_nothing_that_breaks_the_constraints_is_trained():
    free = Searched().planned.space.cost_range.flops
    bound = (free[0] + free[1]) // 2
    space = {
        "position": ["standard", "pre", "post", "identity"],
        "ratio": [1, 2, 4],
        "constraints": {"flops": {"max": bound}},
    }
    searched = Searched(space=space, trials=20)
    searched.run()
    proposed = [trial for trial in searched.trials() if "baseline" not in trial.user_attrs]
    assert len(proposed) == 14
    assert all(trial.user_attrs["flops"] <= bound for trial in proposed)


def test_a_front_that_no_longer_grows_ends_the_search():
    searched = Searched(slots=1, trials=40, stop_when_stalled={"trials": 5})
    searched.run(accuracy=lambda number: 0.5)  # after no SE, the cheapest, nothing is on the front
    assert len(searched.trials()) == 6
    assert searched.engine.stalled
    searched.again()
    assert not searched.engine.has_work
    searched.again(stop_when_stalled=None)
    assert searched.engine.has_work


def test_a_front_that_grows_does_not():
    searched = Searched(slots=1, trials=20, stop_when_stalled={"trials": 5})
    searched.run(accuracy=lambda number: number / 20)
    assert len(searched.trials()) == 20


def test_what_is_measured_besides_accuracy_decides_again_after_a_stop():
    """Rungs are made from loss, which Optuna has no place for beside the accuracy."""
    searched = Searched(slots=1, trials=30, objectives=["loss"], asha={"variant": "promotion", "eta": 2})
    for _ in range(6):
        searched.train(searched.start())
    losses = {6: 2.0, 7: 0.1}
    for _ in range(2):
        assignment = searched.start()
        searched.engine.report(assignment.number, [{"accuracy": 0.5, "loss": losses[assignment.number]}])
    asha = searched.engine._asha
    before = {number: asha.standing(number) for number in (6, 7)}
    searched.again()
    assert {number: searched.engine._asha.standing(number) for number in (6, 7)} == before
    assert before[7] < before[6]


def test_a_study_without_class_names_gets_them_when_it_goes_on_with_the_same_images():
    searched = Searched()
    (study,) = searched.storage.get_all_studies()
    assert "class_names" not in searched.storage.get_study_user_attrs(study._study_id)

    def goes_on(facts):
        StudyRecord.open(searched.storage, searched.config, searched.planned.objectives, facts)
        return searched.storage.get_study_user_attrs(study._study_id)["class_names"]

    named = dataclasses.replace(FACTS, class_names=("cat", "dog"))
    assert goes_on(named) == goes_on(FACTS) == ["cat", "dog"]
    other = dataclasses.replace(named, fingerprints={"training": "x", "validation": "b"}, class_names=("dog", "cat"))
    with pytest.raises(InputError, match="the training images of digits are not those"):
        goes_on(other)
    assert goes_on(FACTS) == ["cat", "dog"]


def test_the_accuracy_on_each_class_is_recorded_once_when_a_trial_is_complete():
    searched = Searched(slots=2)
    complete, running = searched.start(), searched.start()
    searched.engine.report(running.number, history(1), class_accuracies=[0.5, 0.5])
    for epoch in range(1, EPOCHS + 1):
        searched.engine.report(complete.number, history(epoch), class_accuracies=[0.25, None])
    searched.engine.fail(running.number, "it broke")
    attributes = [trial.user_attrs for trial in searched.trials()]
    assert [attributes[n]["ending"].get("class_accuracies") for n in (complete.number, running.number)] == [
        [0.25, None],
        None,
    ]
    assert "class_accuracies" not in json.dumps([said.get("history") for said in attributes])


def test_another_search_under_the_same_name_is_refused():
    searched = Searched()
    with pytest.raises(InputError, match=r"begun with search.epochs = 8, not search.epochs = 9"):
        searched.again(epochs=9)


def test_other_images_are_refused():
    searched = Searched()
    other = dataclasses.replace(FACTS, fingerprints={"training": "a", "validation": "c"})
    with pytest.raises(InputError, match="the validation images of digits are not those that study 'driven' was begun"):
        StudyRecord.open(searched.storage, searched.config, searched.planned.objectives, other)


def recorded_without_sites(searched):
    """The study as one that was made before a space had a choice of sites."""
    (study,) = searched.storage.get_all_studies()
    config = searched.storage.get_study_user_attrs(study._study_id)["config"]
    del config["space"]["sites"]
    searched.storage.set_study_user_attr(study._study_id, "config", config)
    return study._study_id


def test_a_study_keeps_the_sites_that_it_was_made_with():
    searched = Searched()
    study = recorded_without_sites(searched)
    searched.again()
    assert searched.storage.get_study_user_attrs(study)["config"]["space"]["sites"] == "residual"
    searched.again()  # and keeps them when it goes on once more
    chosen = parse_config(searched.config.to_dict() | {"space": {"sites": "convolutions"}})
    with pytest.raises(InputError, match=r"begun with .*space\.sites = residual.*not .*space\.sites = convolutions"):
        StudyRecord.open(searched.storage, chosen, searched.planned.objectives, FACTS)


def test_a_search_is_planned_with_the_sites_of_the_study_that_it_continues(tmp_path):
    url = f"sqlite:///{tmp_path / 'senas.db'}"
    searched = Searched()
    assert _as_begun(searched.config, url) == searched.config
    searched.storage = open_storage(url)
    searched.again()
    recorded_without_sites(searched)
    assert _as_begun(searched.config, url).space.sites == "residual"
    chosen = parse_config(searched.config.to_dict() | {"space": {"sites": ["layer1.*"]}})
    assert _as_begun(chosen, url).space.sites == ("layer1.*",)


def with_weights(searched, file):
    backbone = searched.config.backbone.model_copy(update={"weights": str(file)})
    return searched.config.model_copy(update={"backbone": backbone})


def test_a_weights_file_may_be_moved_and_not_changed_or_exchanged():
    searched = Searched()
    objectives, storage = searched.planned.objectives, InMemoryStorage()
    facts = dataclasses.replace(FACTS, weights={"resnet8": "a1"})
    StudyRecord.open(storage, with_weights(searched, "/one/w.pt"), objectives, facts)
    moved = with_weights(searched, "/two/w.pt")
    StudyRecord.open(storage, moved, objectives, facts)
    with pytest.raises(InputError, match=r"the weights file of resnet8 is not the one .*SHA-256 a1, now b2"):
        StudyRecord.open(storage, moved, objectives, dataclasses.replace(FACTS, weights={"resnet8": "b2"}))
    with pytest.raises(InputError, match=r"begun with backbone.weights = w.pt, not backbone.weights = v.pt"):
        StudyRecord.open(storage, with_weights(searched, "/two/v.pt"), objectives, facts)


def test_a_study_that_does_not_know_its_weights_file_goes_on():
    searched = Searched()
    config = with_weights(searched, "/one/w.pt")
    storage = InMemoryStorage()
    StudyRecord.open(storage, config, searched.planned.objectives, FACTS)
    facts = dataclasses.replace(FACTS, weights={"resnet8": "a1"})
    StudyRecord.open(storage, config, searched.planned.objectives, facts)


def test_a_refusal_of_other_images_says_how_many_there_were_and_are():
    searched = Searched()
    (study,) = searched.storage.get_all_studies()
    searched.storage.set_study_user_attr(study._study_id, "images", {"training": 44, "validation": 11})
    for images, said in (({"training": 64}, "44 images, now 64; "), ({"training": 44}, ""), ({}, "")):
        other = dataclasses.replace(FACTS, fingerprints={"training": "c", "validation": "b"}, images=images)
        with pytest.raises(InputError, match=rf"was begun with \({said}fingerprint a, now c\)"):
            StudyRecord.open(searched.storage, searched.config, searched.planned.objectives, other)


def test_every_run_is_remembered_with_its_versions():
    searched = Searched()
    searched.again()
    (study,) = searched.storage.get_all_studies()
    assert searched.storage.get_study_user_attrs(study._study_id)["runs"] == [{"host": "here"}] * 2


def test_a_study_says_from_which_trial_on_starts_are_in_utc():
    searched = Searched()
    (study,) = searched.storage.get_all_studies()

    def attributes():
        return searched.storage._studies[study._study_id].user_attrs

    assert attributes()["starts_in_utc_from"] == 0
    searched.run()
    searched.again()
    assert attributes()["starts_in_utc_from"] == 0
    del attributes()["starts_in_utc_from"]  # as in a study of an earlier version
    for trials in (14, 16):
        searched.again(trials=trials)
        searched.run()
        assert attributes()["starts_in_utc_from"] == 12


def test_a_study_that_was_left_half_made_is_made_whole():
    whole = Searched()
    storage = InMemoryStorage()
    study = storage.create_new_study(list(whole.storage.get_all_studies()[0].directions), "driven")
    storage.set_study_user_attr(study, "epochs", EPOCHS)
    StudyRecord.open(storage, whole.config, whole.planned.objectives, FACTS)
    assert storage.get_study_user_attrs(study)["config"] == whole.config.to_dict()


def test_a_study_of_another_program_is_refused():
    whole = Searched()
    storage = InMemoryStorage()
    study = storage.create_new_study(list(whole.storage.get_all_studies()[0].directions), "driven")
    storage.create_new_trial(study)
    with pytest.raises(InputError, match="was not made by senas"):
        StudyRecord.open(storage, whole.config, whole.planned.objectives, FACTS)


def test_baselines_that_were_interrupted_at_a_rung_go_on_and_are_never_promoted():
    searched = Searched(slots=8, trials=16, asha={"variant": "promotion", "eta": 2})
    started = [searched.start() for _ in range(8)]
    searched.engine.drain()
    for assignment in started:
        searched.engine.report(assignment.number, history(1, accuracy=assignment.number / 8))
    searched.again()
    searched.run(accuracy=lambda number: 1 - number / 16)
    assert searched.engine.finished
    assert set(searched.states()) == {"COMPLETE", "PRUNED"}
    assert searched.states()[:6] == ["COMPLETE"] * 6


def test_whether_a_search_has_stalled_is_the_same_after_a_stop():
    searched = Searched(slots=9, trials=40, stop_when_stalled={"trials": 6})
    started = [searched.start() for _ in range(9)]
    for assignment in started[1:]:
        searched.train(assignment, accuracy=0.1)
    searched.train(started[0], accuracy=0.9)  # the first begun ends last, and is what the front grows by
    assert not searched.engine.stalled
    searched.again()
    assert not searched.engine.stalled


PRICES = """
def sometimes_none(architecture):
    if len(architecture.se) == 3:
        raise KeyError("three")
    return float("nan") if len(architecture.se) == 2 else len(architecture.se)
"""


def test_a_price_that_cannot_be_told_fails_its_trial_alone(tmp_path, monkeypatch):
    (tmp_path / "prices_of_ones_own.py").write_text(PRICES)
    monkeypatch.chdir(tmp_path)
    price = {"name": "odd", "direction": "minimize", "price": "prices_of_ones_own:sometimes_none"}
    searched = Searched(trials=20, objectives=["accuracy", price])
    searched.run()
    assert len(searched.trials()) == 20
    for trial in searched.trials():
        blocks = len(trial.user_attrs["architecture"].get("sites", {}))
        reason = {2: "ValueError: objective odd is nan", 3: "KeyError: 'three'"}.get(blocks)
        assert trial.user_attrs.get("fail_reason") == reason
        assert (trial.state == TrialState.FAIL) == (reason is not None)
    assert {"FAIL", "COMPLETE"} == set(searched.states())
    searched.again()
    assert not searched.engine.has_work


def test_a_driver_whose_study_was_taken_over_writes_nothing_more():
    searched = Searched(slots=1)
    taken = []

    def guard():
        if taken:
            raise RuntimeError("taken over")

    record = StudyRecord.open(searched.storage, searched.config, searched.planned.objectives, FACTS, guard=guard)
    engine = make_engine(searched.planned, record, slots=lambda: 1)
    assignment = engine.next()
    taken.append(True)
    before = repr(searched.trials())
    with pytest.raises(RuntimeError, match="taken over"):
        engine.report(assignment.number, history(1))
    with pytest.raises(RuntimeError, match="taken over"):
        engine.fail(assignment.number, "broken")
    assert repr(searched.trials()) == before


def test_top5_of_few_classes_is_refused(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for name in "abc":
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "1.png")
    config = parse_config(
        {
            "study": "few",
            "backbone": {"name": "resnet8"},
            "data": {"name": "imagefolder", "root": str(tmp_path)},
            "search": {"trials": 2, "epochs": 2, "objectives": ["top5"]},
        }
    )
    with pytest.raises(InputError, match="objective top5: of 3 classes every network has all among its first five"):
        plan(config)


# what other programs do to the study meanwhile


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL], ids=lambda s: s.name)
@pytest.mark.parametrize("then", ["goes on", "ends", "breaks", "is lost"])
def test_a_trial_that_another_program_has_ended_is_left_as_that_and_the_search_continues(state, then):
    searched = Searched(trials=8)
    first, second = searched.start(), searched.start()
    values = [0.99, 1000.0] if state == TrialState.COMPLETE else None
    searched.storage.set_trial_state_values(searched.trials()[first.number]._trial_id, state, values)
    history = [{"accuracy": 0.5}] * (EPOCHS if then == "ends" else 2)
    if then == "breaks":
        searched.engine.fail(first.number, "a fault of its own")
    elif then == "is lost":
        searched.engine.lose(first.number, "killed")
    else:
        assert searched.engine.report(first.number, history) is Verdict.STOP
    searched.engine.report(second.number, [{"accuracy": 0.5}] * EPOCHS)
    searched.run()
    found = searched.trials()
    assert (found[first.number].state, found[first.number].values) == (state, values)
    assert "ending" not in found[first.number].user_attrs
    assert len(found) == 8
    assert searched.engine.finished
    searched.again()  # and a study with such a trial can be gone on with
    assert not searched.engine.has_work


def enqueued(study):
    study.enqueue_trial({"ratio": 4})


def asked(study):
    study.ask()


def added(study):
    study.add_trial(create_trial(values=[0.9, 1.0], user_attrs={"architecture": "resnet18"}))


def retried(study):
    """As Optuna's RetryFailedTrialCallback queues a copy of a trial, attributes included."""
    study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=study.trials[0].user_attrs))


@pytest.mark.parametrize("add", [enqueued, asked, added, retried], ids=lambda add: add.__name__)
def test_a_trial_that_another_program_adds_is_left_as_it_is_and_the_search_continues(add, caplog):
    searched = Searched(trials=8)
    searched.train(searched.start())
    add(optuna.load_study(study_name="driven", storage=searched.storage))
    before = searched.trials()[1]
    searched.run()
    searched.again(trials=9)
    assert "trials that another program added or queued (1)" in caplog.text
    searched.run()
    found = searched.trials()
    assert found[1] == before
    assert len(found) == 10
    assert [trial.state.name for trial in found if trial.number != 1] == ["COMPLETE"] * 9
    assert searched.engine.finished


def test_no_other_trial_is_told_of_where_there_is_none(caplog):
    searched = Searched(trials=2)
    searched.start()
    searched.again()
    assert "another program" not in caplog.text


def test_a_study_that_another_program_has_deleted_ends_the_search_with_a_line(tmp_path):
    searched = Searched()
    searched.storage = open_storage(f"sqlite:///{tmp_path / 'senas.db'}")
    searched.again()
    trial = searched.start()
    (study,) = searched.storage.get_all_studies()
    searched.storage.delete_study(study._study_id)
    with pytest.raises(StudyDeletedError, match=r"another program has deleted the study .* start the same command"):
        searched.engine.report(trial.number, [{"accuracy": 0.5}])


def test_no_trial_is_created_in_a_study_that_was_deleted(tmp_path):
    url = f"sqlite:///{tmp_path / 'senas.db'}"
    open_storage(url)
    create = create_by_rows(writing_engine(url))
    with pytest.raises(KeyError, match="there is no study"):
        create(7, create_trial(state=TrialState.RUNNING))
