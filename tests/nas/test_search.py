"""Whole searches with real Ray on real digits: their records, going on, being killed, failing."""

import json
from collections import Counter

import optuna
import pytest
import torch

import results
from nas.config import load_config
from nas.plan import plan
from trainers.data.splits import search_splits

pytestmark = pytest.mark.slow

TRIALS, EPOCHS = 12, 4


def study_of(senas, name="tiny"):
    return results.open_study(senas.storage, name)


@pytest.fixture
def copied(finished, tmp_path):
    """The finished search, to be gone on with."""
    return finished.copy(tmp_path)


def test_states_mean_what_they_say(finished):
    trials = study_of(finished).trials()
    assert len(trials) == TRIALS
    assert {trial.state for trial in trials} == {"COMPLETE", "PRUNED"}
    for trial in trials:
        if trial.state == "COMPLETE":
            assert trial.epochs == len(trial.curve) == EPOCHS
            assert trial.accuracy == trial.curve[-1]
        else:
            assert 0 < trial.epochs == len(trial.curve) < EPOCHS
            assert trial.accuracy is None
            assert not trial.objectives


def test_complete_trials_have_scores_by_class(finished):
    study = study_of(finished)
    assert study.class_names == tuple("0123456789")
    labels = search_splits(load_config(finished.folder / "tiny.yaml").data).held_out.labels
    images = torch.bincount(labels).tolist()
    for trial in study.trials():
        if trial.state == "COMPLETE":
            hits = [accuracy * count for accuracy, count in zip(trial.class_accuracies, images, strict=True)]
            assert sum(hits) / len(labels) == pytest.approx(trial.accuracy)
            assert trial.metrics["balanced_accuracy"] == pytest.approx(sum(trial.class_accuracies) / 10)
            assert 0 <= trial.metrics["macro_f1"] <= 1
        else:
            assert trial.class_accuracies == ()
    shown = finished.run("show", "tiny").stdout.partition("Validation accuracy by class")[2]
    rows = [line.split() for line in shown.strip().splitlines()[1:]]
    best = study.best().class_accuracies
    assert rows == [[str(label), str(label), f"{accuracy:.4f}"] for label, accuracy in enumerate(best)]


def test_optuna_reads_the_same_study(finished):
    ours = study_of(finished)
    theirs = optuna.load_study(study_name="tiny", storage=finished.storage)
    assert theirs.metric_names == ["accuracy", "flops"]
    assert {t.number for t in theirs.best_trials} == {t.number for t in ours.front()}
    assert Counter(t.state.name for t in theirs.trials) == Counter(t.state for t in ours.trials())
    assert all(t.values is None for t in theirs.trials if t.state.name == "PRUNED")


def test_each_architecture_is_tried_once_at_the_cost_known_before(finished):
    planned = plan(load_config(finished.folder / "tiny.yaml"))
    trials = study_of(finished).trials()
    assert len({trial.architecture_id for trial in trials}) == TRIALS
    for trial in trials:
        assert trial.architecture.id == trial.architecture_id
        priced = planned.price(trial.architecture)
        assert (trial.flops, trial.params) == (priced.flops, priced.params)
        if trial.parameters:
            assert planned.space.decode(trial.parameters) == trial.architecture


def test_every_baseline_is_complete(finished):
    planned = plan(load_config(finished.folder / "tiny.yaml"))
    recorded = {trial.baseline: trial for trial in study_of(finished).baselines()}
    assert {name: trial.architecture for name, trial in recorded.items()} == planned.baselines()
    assert {trial.state for trial in recorded.values()} == {"COMPLETE"}


def test_it_ends_with_the_front_the_baselines_and_the_next_commands(finished):
    said = finished.ended.stdout
    for trial in study_of(finished).front():
        assert f"{trial.accuracy:.4f}" in said
    for name in ("no SE", "standard everywhere", "identity everywhere"):
        assert f"{name} (baseline)" in said
    assert "show tiny" in said
    assert "Pareto front of tiny" in said
    assert finished.ended.stderr.count("complete") >= 5


def test_it_ends_with_a_report_of_all_that_happened(finished):
    report = finished.folder / "runs" / "tiny" / "report.html"
    assert str(report.relative_to(finished.folder)) in finished.ended.stdout
    assert f"Recommended: trial {study_of(finished).best().number}" in report.read_text()


def test_the_best_scores_as_an_export_what_the_study_says(copied):
    from trainers.data.splits import search_splits

    study = study_of(copied)
    copied.export()
    folder = copied.folder / "best"
    network = results.load(folder)
    splits = search_splits(load_config(copied.folder / "tiny.yaml").data)
    statistics = json.loads((folder / "metadata.json").read_text())["normalisation"]
    mean, std = (torch.tensor(statistics[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        guesses = network((splits.held_out.images.float() - mean) / std).argmax(1)
    assert (guesses == splits.held_out.labels).double().mean().item() == study.best().accuracy


def test_starting_again_runs_nothing_again(copied):
    before = study_of(copied).trials()
    again = copied.run("search", "tiny.yaml")
    assert study_of(copied).trials() == before
    assert "Pareto front of tiny" in again.stdout


def test_more_trials_are_added_and_nothing_finished_is_touched(copied):
    before = study_of(copied).trials()
    copied.run("search", "tiny.yaml", "--set", f"search.trials={TRIALS + 3}")
    after = study_of(copied).trials()
    assert len(after) == TRIALS + 3

    def finished_parts(trials):
        return [(t.number, t.state, t.architecture_id, t.curve, t.started, t.duration_s) for t in trials]

    assert finished_parts(after[:TRIALS]) == finished_parts(before)
    assert {trial.state for trial in after[TRIALS:]} <= {"COMPLETE", "PRUNED"}


def test_another_configuration_under_the_same_name_is_refused(copied):
    before = study_of(copied)
    before_records = before.records
    refused = copied.run("search", "tiny.yaml", "--set", "recipe.lr=0.2", code=2)
    assert "study 'tiny' was begun with recipe.lr = 0.1, not recipe.lr = 0.2" in refused.stderr
    after = study_of(copied)
    assert (after.records, after.user_attrs) == (before_records, before.user_attrs)


def test_a_new_study_does_not_start_from_an_old_ones_checkpoints(copied):
    (copied.folder / "senas.db").unlink()
    copied.run("search", "tiny.yaml", "--trials", "1", "--set", "recipe.lr=0.05", "--set", "search.asha=null")
    (trial,) = study_of(copied).trials()
    assert trial.state == "COMPLETE"
    assert trial.checkpoint == str(copied.folder / "runs" / "tiny" / "checkpoints-2" / "trial-00000")


def test_a_training_that_diverges_is_a_failure_with_its_reason(senas):
    ended = senas.run("search", "tiny.yaml", "--set", "recipe.lr=1e30", "--set", "search.trials=6", code=1)
    trials = study_of(senas).trials()
    assert len(trials) == 6
    assert {trial.state for trial in trials} == {"FAIL"}
    assert all(trial.fail_reason.startswith("DivergedError: the training loss is nan") for trial in trials)
    assert "no trial was completed" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_space_smaller_than_the_trials_asked_for_ends_the_search(senas):
    space = "{variant: standard, position: standard, ratio: [1], insertion: {choices: [true, false], per: network}}"
    words = ("search", "tiny.yaml", "--set", f"space={space}", "--set", "search.epochs=1")
    first, second = senas.run(*words), senas.run(*words)
    # No SE and SE everywhere are the space; the baselines at r = 16 and elsewhere come besides.
    assert len(study_of(senas).trials()) == 7
    for ended in (first, second):
        assert "Every architecture of the space has been tried." in ended.stdout


def test_a_time_budget_leaves_the_rest_for_the_next_time(senas):
    settings = ("--set", "search.asha=null", "--set", "search.epochs=60")
    senas.run("search", "tiny.yaml", "--time-budget", "8s", *settings)
    trials = study_of(senas).trials()
    assert len(trials) < TRIALS
    assert {trial.state for trial in trials} >= {"RUNNING"}


OWN = """
def worst_class(logits, labels):
    hit = (logits.argmax(1) == labels).float()
    return min(hit[labels == c].mean() for c in labels.unique())


def blocks(architecture):
    return len(architecture.se)
"""


def test_objectives_of_ones_own_and_a_latency(senas):
    (senas.folder / "mine.py").write_text(OWN)
    objectives = (
        "[{name: worst, direction: maximize, measure: 'mine:worst_class'}, latency, "
        "{name: blocks, direction: minimize, price: 'mine:blocks'}]"
    )
    ended = senas.run("search", "tiny.yaml", "--trials", "9", "--set", f"search.objectives={objectives}")
    assert "worst against latency and blocks" in ended.stdout
    study = senas.study()
    complete = [trial for trial in study.trials() if trial.state == "COMPLETE"]
    for trial in complete:
        assert trial.objectives["blocks"] == len(trial.architecture.se)
        assert 0 <= trial.objectives["worst"] <= trial.accuracy == trial.curve[-1]
        assert 1e-5 < trial.objectives["latency"] < 10
    (summary,) = results.studies(senas.storage)
    assert summary.best_value == max(trial.objectives["worst"] for trial in complete)
    assert summary.best_accuracy == study.best().accuracy
    theirs = optuna.load_study(study_name="tiny", storage=senas.storage)
    assert theirs.metric_names == ["worst", "latency", "blocks"]
    assert {t.number for t in theirs.best_trials} == {t.number for t in study.front()}
    first = theirs.trials[0].user_attrs
    assert first["history"][-1]["worst"] == complete[0].objectives["worst"]
    missing = objectives.replace("worst_class", "best_class")
    refused = senas.run("search", "tiny.yaml", "--study", "x", "--set", f"search.objectives={missing}", code=2)
    assert "objective worst mine:best_class: module mine has no best_class" in refused.stderr
