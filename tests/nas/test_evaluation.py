"""Final evaluations with real Ray: each architecture and seed trained once, in full, and scored on the test set."""

import json
import shutil
import sqlite3

import pytest
import torch

from nas.config import load_config
from search_space import Architecture, build
from trainers.data.splits import final_splits
from trainers.run import TrainingRun

pytestmark = pytest.mark.slow

NAME = "tiny-evaluation"
EVALUATE = ("evaluate", "best", "--epochs", "2", "--set", "resources.cpus_per_trial=1")


@pytest.fixture(scope="module")
def evaluated(finished, tmp_path_factory):
    """The best of a search, evaluated over two seeds beside the baselines."""
    senas = finished.copy(tmp_path_factory.mktemp("evaluated"))
    senas.export()
    senas.ended = senas.run(*EVALUATE, "--baselines", "--seeds", "2", "--json")
    return senas


@pytest.fixture
def again(evaluated, tmp_path):
    return evaluated.copy(tmp_path)


def test_every_architecture_is_trained_in_full_with_every_seed(evaluated):
    trials = evaluated.study(NAME).trials()
    pairs = [(trial.architecture_id, trial.parameters["seed"]) for trial in trials]
    assert len(set(pairs)) == len(pairs)
    assert len(pairs) == 2 * len({architecture for architecture, _ in pairs})
    assert {trial.state for trial in trials} == {"COMPLETE"}
    assert {trial.epochs for trial in trials} == {2}
    assert evaluated.study().config["search"]["seed"] not in {seed for _, seed in pairs}  # the winner's luck
    assert all(trial.curve == (trial.accuracy,) for trial in trials)  # scored once, at the end


def test_the_baselines_are_the_published_ones_and_the_best_other_position(evaluated):
    search, evaluation = evaluated.study(), evaluated.study(NAME)
    others = [trial for trial in search.baselines() if trial.baseline not in ("no SE", "standard everywhere")]
    best = max(others, key=lambda trial: (trial.accuracy, -trial.flops, -trial.number))
    wanted = {"no SE", "standard everywhere", best.baseline}
    winner = search.best()
    assert {trial.baseline for trial in evaluation.baselines()} == wanted - {winner.baseline}
    unlabelled = {trial.architecture_id for trial in evaluation.trials() if trial.baseline is None}
    assert unlabelled == {winner.architecture_id}


def test_the_scores_are_those_of_training_on_all_that_the_search_saw(evaluated):
    config = load_config(evaluated.folder / "tiny.yaml")
    torch.set_num_threads(1)
    splits = final_splits(config.data)
    trial = evaluated.study(NAME).trials()[-1]
    seed = trial.parameters["seed"]
    run = TrainingRun(build(trial.architecture, seed=seed), splits, config.recipe, epochs=2, seed=seed)
    while not run.finished:
        run.train_epoch()
    assert trial.accuracy == run.evaluate().top1


def test_the_judgement_has_the_metrics_of_every_trial(evaluated):
    said = json.loads(evaluated.ended.stdout)
    metrics = {
        (trial.architecture_id, str(trial.parameters["seed"])): trial.metrics
        for trial in evaluated.study(NAME).trials()
    }
    for entry in said["entries"]:
        for name in ("balanced_accuracy", "macro_f1"):
            assert entry["metrics"][name].keys() == entry["accuracies"].keys()
            for seed, value in entry["metrics"][name].items():
                assert value == metrics[entry["architecture_id"], seed][name]


def test_the_judgement_is_json(evaluated):
    said = json.loads(evaluated.ended.stdout)
    by_label = {entry["label"]: entry for entry in said["entries"]}
    study = evaluated.study(NAME)
    for trial in study.trials():
        accuracies = by_label[trial.baseline or "winner"]["accuracies"]
        assert accuracies[str(trial.parameters["seed"])] == trial.accuracy
    assert said["study"] == NAME
    assert {comparison["entry"] for comparison in said["comparisons"]} == {"winner"}
    assert said["sentence"]


def test_more_seeds_are_added_to_those_there_are(again):
    before = again.study(NAME).trials()
    again.run(*EVALUATE, "--baselines", "--seeds", "3")
    after = again.study(NAME).trials()
    assert [t.accuracy for t in after[: len(before)]] == [t.accuracy for t in before]
    assert len(after) == len(before) // 2 * 3
    fewer = again.run(*EVALUATE, "--seeds", "1", "--json")
    entries = json.loads(fewer.stdout)["entries"]
    assert [list(entry["accuracies"]) for entry in entries] == [["1"]]


def test_a_killed_evaluation_goes_on_and_comes_to_the_same(evaluated, finished, tmp_path):
    broken = finished.copy(tmp_path)
    broken.export()
    process = broken.start(*EVALUATE, "--baselines", "--seeds", "2")
    broken.wait_until(lambda trials: sum(trial.state == "COMPLETE" for trial in trials) >= 2, study=NAME)
    broken.kill(process)
    cut = broken.run(*EVALUATE, "--baselines", "--seeds", "2", "--time-budget", "0.01s", "--json")
    assert json.loads(cut.stdout)["left"] > 0
    assert "trainings have not ended: start the same command again to go on" in cut.stderr
    broken.run(*EVALUATE, "--baselines", "--seeds", "2")

    def scores(senas):
        trials = senas.study(NAME).trials()
        return sorted((t.architecture_id, t.parameters["seed"], t.state, t.accuracy) for t in trials)

    assert scores(broken) == scores(evaluated)


def test_what_failed_is_tried_again_and_what_is_not_asked_for_is_left(again):
    with sqlite3.connect(again.folder / "senas.db") as db:  # as if one training had failed, and one had been cut off
        study = db.execute("SELECT study_id FROM studies WHERE study_name = ?", (NAME,)).fetchone()[0]
        numbers = {"FAIL": 0, "RUNNING": 1}
        for state, number in numbers.items():
            where = "WHERE study_id = ? AND number = ?"
            trial = db.execute(f"SELECT trial_id FROM trials {where}", (study, number)).fetchone()[0]
            db.execute("UPDATE trials SET state = ?, datetime_complete = NULL WHERE trial_id = ?", (state, trial))
            db.execute("DELETE FROM trial_values WHERE trial_id = ?", (trial,))
            db.execute("DELETE FROM trial_user_attributes WHERE trial_id = ? AND key = 'ending'", (trial,))
    before = again.study(NAME).trials()
    assert [before[number].state for number in numbers.values()] == list(numbers)
    again.run(*EVALUATE, "--seeds", "2")  # of the winner alone, which trial 0 is of
    after = again.study(NAME).trials()
    assert len(after) == len(before) + 1
    assert after[1].state == "RUNNING"
    same = (after[-1].architecture_id, after[-1].parameters["seed"])
    assert same == (before[0].architecture_id, before[0].parameters["seed"])
    assert after[-1].state == "COMPLETE", after[-1].fail_reason


def test_an_architecture_needs_to_be_told_its_data(again):
    shutil.copy(again.folder / "best/architecture.yaml", again.folder / "mine.yaml")
    shutil.rmtree(again.folder / "best")
    refused = again.run("evaluate", "mine.yaml", code=2)
    assert refused.stderr.strip().endswith("give the search's configuration with --config")
    again.run("evaluate", "mine.yaml", "--config", "tiny.yaml", "--seeds", "1", "--epochs", "1")
    (trial,) = again.study("mine-evaluation").trials()
    assert trial.architecture == Architecture.from_yaml((again.folder / "mine.yaml").read_text())
    assert trial.epochs == 1


def test_other_data_than_the_architectures_is_refused(again):
    refused = again.run(*EVALUATE, "--set", "data={name: fashion_mnist, root: data}", "--study", "other", code=2)
    assert "1 x 8 x 8" in refused.stderr
    assert "fashion_mnist has 10 classes and images of 1 x 28 x 28" in refused.stderr


def test_a_published_table_is_reproduced_beside_its_figures(senas, tiny_images):
    data = f"data={{name: imagefolder, root: {tiny_images}}}"
    words = ("reproduce", "cnn3", "--seeds", "1", "--epochs", "1", "--set", data, "--fraction", "0.6")
    said = senas.run(*words).stdout
    trials = senas.study("reproduce-cnn3").trials()
    for trial in trials:
        assert trial.state == "COMPLETE"
        assert any(trial.baseline in line and f"{100 * trial.accuracy:.2f}" in line for line in said.splitlines())
    for published in ("72.52", "72.58", "72.97"):
        assert published in said
    assert senas.study("reproduce-cnn3").config["data"]["limit"] == 72
    entries = json.loads(senas.run(*words, "--json").stdout)["entries"]
    assert [entry["label"] for entry in entries] == [trial.baseline for trial in trials]


def test_a_search_never_reads_the_test_set_and_the_evaluation_does(senas, tiny_images):
    files = sorted((tiny_images / "test").rglob("*.png"))
    for file in files:
        file.write_bytes(b"no image at all")
    read = {file: file.stat().st_atime_ns for file in files}
    data = f"data={{name: imagefolder, root: {tiny_images}, validation: 0.3}}"
    small = ("--set", data, "--set", "search.epochs=1", "--set", "search.asha=null", "--trials", "1")
    senas.run("search", "tiny.yaml", *small)
    assert {file: file.stat().st_atime_ns for file in files} == read
    assert senas.study().trials()[0].state == "COMPLETE"
    senas.export()
    refused = senas.run("evaluate", "best", "--seeds", "1", code=2)
    assert "cannot read the image" in refused.stderr
    assert str(tiny_images / "test") in refused.stderr
