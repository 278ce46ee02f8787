import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from results import TrialRecord, open_study, studies
from search_space.errors import InputError

JSON_KEYS = {
    "metrics",
    "class_accuracies",
    "objectives",
    "parameters",
    "baseline",
    "number",
    "state",
    "architecture",
    "architecture_id",
    "accuracy",
    "flops",
    "params",
    "epochs",
    "duration_s",
    "started",
    "is_pareto",
    "is_baseline",
    "curve",
    "fail_reason",
}


def seconds(trial: FrozenTrial) -> float | None:
    return trial.duration.total_seconds() if trial.duration else None


def local(started: datetime | None) -> datetime | None:
    """Optuna's convention: local time that does not say so."""
    return started.astimezone().replace(tzinfo=None) if started else None


def same(ours: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    return len(ours) == len(theirs) and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(ours, theirs, strict=True)
    )


def test_every_trial_is_as_optuna_has_it(url: str, searched: optuna.Study) -> None:
    records = open_study(url, "a study").trials()
    assert len(records) == len(searched.trials) == 41
    assert {record.state for record in records} == {"COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"}
    for record, trial in zip(records, searched.trials, strict=True):
        attributes = trial.user_attrs
        assert record.number == trial.number
        assert record.state == trial.state.name
        assert record.parameters == trial.params
        assert [type(value) for value in record.parameters.values()] == [
            type(trial.params[name]) for name in record.parameters
        ]
        assert same(record.curve, tuple(trial.intermediate_values[s] for s in sorted(trial.intermediate_values)))
        assert record.epochs == len(trial.intermediate_values)
        assert local(record.started) == trial.datetime_start
        assert record.duration_s == seconds(trial)
        assert (record.architecture.to_dict() if record.architecture else None) == attributes.get("architecture")
        assert (record.architecture.id if record.architecture else None) == record.architecture_id
        for key in ("architecture_id", "flops", "params", "fail_reason", "baseline"):
            assert getattr(record, key) == attributes.get(key)
        assert record.checkpoint == f"/runs/trial-{trial.number:05d}"
        assert record.metrics == attributes.get("ending", {}).get("metrics", {})
        complete = trial.state == TrialState.COMPLETE
        assert record.accuracy == (trial.values[0] if complete else None)
        assert record.objectives == (dict(zip(["accuracy", "flops"], trial.values, strict=True)) if complete else {})


def test_the_front_is_optunas_best_trials(url: str, searched: optuna.Study) -> None:
    study = open_study(url, "a study")
    numbers = {trial.number for trial in searched.best_trials}
    assert {record.number for record in study.front()} == numbers
    assert {record.number for record in study.trials() if record.is_pareto} == numbers
    costs = [record.flops for record in study.front()]
    assert costs == sorted(costs)


def test_a_front_of_three_objectives(url: str, new_study: Callable[..., optuna.Study]) -> None:
    reference = new_study(metrics=("latency", "accuracy", "params"))
    for latency, accuracy, params in [(3, 0.5, 9), (3, 0.6, 9), (1, 0.1, 50), (9, 0.1, 1), (9, 0.1, 2), (3, 0.6, 9)]:
        reference.tell(reference.ask(), [latency, accuracy, params])
    study = open_study(url, "a study")
    assert {record.number for record in study.front()} == {trial.number for trial in reference.best_trials}
    assert study.best().number == 2
    assert study.trial(0).params == 9
    assert study.trial(0).flops is None


def test_limits_leave_the_front_of_what_is_within_them(url: str, new_study: Callable[..., optuna.Study]) -> None:
    reference = new_study()
    for accuracy, flops, params in [(0.9, 100, 50), (0.8, 200, 5), (0.7, 50, 5), (0.7, 50, None)]:
        trial = reference.ask()
        if params:
            trial.set_user_attr("params", params)
        reference.tell(trial, [accuracy, flops])
    study = open_study(url, "a study")
    assert [record.number for record in study.front()] == [2, 3, 0]
    assert [record.number for record in study.front(max_flops=60)] == [2, 3]
    assert [record.number for record in study.front(max_params=10)] == [2, 1]
    assert study.best().number == 0
    assert study.best(max_flops=60).number == 2
    assert study.best(max_params=10).number == 1
    assert study.best(max_flops=1) is None


def test_of_equal_accuracies_the_cheapest_is_best_and_then_the_first(url: str, new_study) -> None:
    reference = new_study()
    for flops in (30, 10, 10, 20):
        reference.tell(reference.ask(), [0.5, flops])
    assert open_study(url, "a study").best().number == 1


def test_a_partial_curve_is_no_accuracy(url: str, new_study, report) -> None:
    reference = new_study()
    trial = reference.ask()
    report(trial, 0.99, 1)
    reference.tell(trial, state=TrialState.PRUNED)
    done = reference.ask()
    reference.tell(done, [0.1, 5])
    study = open_study(url, "a study")
    assert study.trial(0).accuracy is None
    assert study.trial(0).curve == (0.99,)
    assert [record.number for record in study.front()] == [1]
    assert study.best().number == 1
    assert studies(url)[0].best_accuracy == 0.1


def test_a_value_of_a_trial_that_is_not_complete_is_not_final(url: str, new_study) -> None:
    """Optuna allows a trial to be added as PRUNED with values."""
    new_study().add_trial(optuna.trial.create_trial(state=TrialState.PRUNED, values=[0.9, 5]))
    study = open_study(url, "a study")
    assert study.trial(0).accuracy is None
    assert study.front() == []
    assert studies(url)[0].best_accuracy is None


def test_epochs_come_in_order_whenever_they_were_written(url: str, new_study, report) -> None:
    reference = new_study()
    trial = reference.ask()
    for epoch, accuracy in [(10, 0.3), (2, 0.2), (1, 0.1)]:
        report(trial, accuracy, epoch)
    record = open_study(url, "a study").trial(0)
    assert record.curve == (0.1, 0.2, 0.3)
    assert record.epochs == 10
    assert record.duration_s is None


def test_infinite_values_survive(url: str, new_study, report) -> None:
    reference = new_study()
    trial = reference.ask()
    for epoch, value in enumerate([math.inf, -math.inf, 0.5], start=1):
        report(trial, value, epoch)
    reference.tell(trial, [-math.inf, math.inf])
    record = open_study(url, "a study").trial(0)
    assert record.curve == (math.inf, -math.inf, 0.5)
    assert record.objectives == {"accuracy": -math.inf, "flops": math.inf}
    assert record.flops is None
    assert record.to_json()["curve"] == [None, None, 0.5]


def test_what_a_foreign_study_lacks_is_none(url: str, new_study: Callable[..., optuna.Study]) -> None:
    reference = new_study("foreign", metrics=("flops", "accuracy"))
    trial = reference.ask()
    trial.set_user_attr("architecture", "a string of theirs")
    trial.set_user_attr("params", "many")
    reference.tell(trial, [100.0, 0.75])
    study = open_study(url, "foreign")
    record = study.trial(0)
    assert (record.accuracy, record.flops) == (0.75, 100)
    assert isinstance(record.flops, int)
    assert record.architecture is record.params is record.epochs is record.baseline is None
    assert record.to_json()["architecture"] is None
    assert study.config is study.epochs is None
    assert study.baselines() == []


def test_flops_of_others_may_be_counted_in_millions(url: str, new_study: Callable[..., optuna.Study]) -> None:
    reference = new_study("foreign")
    for flops in (41.5, 42.0):
        reference.tell(reference.ask(), [0.75, flops])
    study = open_study(url, "foreign")
    assert [record.flops for record in study.trials("flops < 42")] == [41.5]
    assert [record.number for record in study.front(max_flops=41.7)] == [0]


def test_attributes_that_are_only_called_like_senass_are_left_alone(url: str, new_study) -> None:
    reference = new_study("foreign")
    for key, value in {
        "config": "train.yaml",
        "checkpoints": 3,
        "fingerprints": ["a"],
        "images": 7,
        "runs": {},
    }.items():
        reference.set_user_attr(key, value)
    trial = reference.ask()
    trial.set_user_attr("ending", {"metrics": [1]})
    reference.tell(trial, [0.75, 100.0])
    study = open_study(url, "foreign")
    (record,) = study.records
    assert record.checkpoint is study.config is study.scoring_images is None
    assert record.metrics == {}
    assert study.scored_by == "validation"


def test_an_architecture_that_cannot_be_understood_is_none(url: str, new_study) -> None:
    reference = new_study()
    reference.ask().set_user_attr("architecture", {"backbone": {"name": "resnet8"}, "of": "a later version"})
    assert open_study(url, "a study").trial(0).architecture is None


def test_a_study_says_what_made_it(url: str, searched: optuna.Study) -> None:
    study = open_study(url, "a study")
    assert study.user_attrs == searched.user_attrs
    assert study.config == {"data": {"name": "digits"}, "trials": 40}
    assert study.epochs == 4
    assert study.parameters == ("count", "layer1.0.ratio", "layer1.position", "rate")
    assert [(record.number, record.baseline) for record in study.baselines()] == [(0, "no SE"), (1, "standard")]


def test_json_has_the_documented_keys_and_is_strict(url: str, searched: optuna.Study) -> None:
    for record in open_study(url, "a study").trials():
        data = record.to_json()
        assert set(data) == JSON_KEYS
        assert json.loads(json.dumps(data, allow_nan=False)) == data
        assert data["architecture"] == (record.architecture.to_dict() if record.architecture else None)
        assert data["started"] is None or datetime.fromisoformat(data["started"]) == record.started
    diverged = open_study(url, "a study").trial(2)
    assert diverged.to_json()["curve"][1] is None


def test_summaries(url: str, searched: optuna.Study, new_study: Callable[..., optuna.Study]) -> None:
    new_study("empty")
    summary, empty = studies(url)
    trials = searched.trials
    assert summary.name == "a study"
    assert {state: count for state, count in summary.trials.items() if count} == Counter(t.state.name for t in trials)
    assert summary.best_accuracy == max(t.values[0] for t in trials if t.state == TrialState.COMPLETE)
    assert summary.front_size == len(searched.best_trials)
    assert local(summary.started) == min(t.datetime_start for t in trials if t.datetime_start)
    assert local(summary.last_change) == max(
        time for t in trials for time in (t.datetime_start, t.datetime_complete) if time
    )
    json.dumps(summary.to_json(), allow_nan=False)
    assert (empty.name, sum(empty.trials.values()), empty.best_accuracy, empty.front_size) == ("empty", 0, None, 0)
    assert empty.started is empty.last_change is None


def test_summaries_of_studies_that_are_not_ours(url: str) -> None:
    reference = optuna.create_study(storage=url, study_name="theirs")
    reference.tell(reference.ask(), 1.0)
    (summary,) = studies(url)
    assert (summary.best_accuracy, summary.front_size) == (None, 1)
    with pytest.raises(InputError, match="no objective named 'accuracy', only objective 0"):
        open_study(url, "theirs")


def test_an_empty_study(url: str, new_study: Callable[..., optuna.Study]) -> None:
    new_study()
    study = open_study(url, "a study")
    assert study.trials() == study.front() == []
    assert study.best() is None
    with pytest.raises(InputError, match="no trial 0: it has no trials yet"):
        study.trial(0)


def test_unknown_names(url: str, searched: optuna.Study) -> None:
    with pytest.raises(InputError, match="unknown study 'a studdy': did you mean 'a study'"):
        open_study(url, "a studdy")
    with pytest.raises(InputError, match="study 'a study' has no trial 99: its trials are 0 to 40"):
        open_study(url, "a study").trial(99)


def test_studies_in_one_db_keep_apart(url: str, searched: optuna.Study, new_study) -> None:
    other = new_study("other")
    other.tell(other.ask(), [0.5, 1])
    assert [record.number for record in open_study(url, "other").trials()] == [0]
    assert len(open_study(url, "a study").trials()) == 41


def test_a_record_can_be_hashed() -> None:
    assert len({TrialRecord(1, "FAIL"), TrialRecord(1, "FAIL"), TrialRecord(2, "FAIL")}) == 2
