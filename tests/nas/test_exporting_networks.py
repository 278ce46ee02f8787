"""The command export: of the trial's own weights, or of those of a training in full, scored once on the test set."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch

import results
from nas.config import load_config
from trainers.data.splits import final_splits

QUICK = ("--without", "model.py", "--without", "model.pt2", "--without", "model.onnx")


@pytest.fixture(scope="module")
def retrained(finished, tmp_path_factory):
    """A finished search, whose best was exported after a training in full, and what the command said."""
    copy = finished.copy(tmp_path_factory.mktemp("retrained"))
    copy.said = copy.run("export", "tiny", "--retrain", *QUICK, "-o", "final", "--json")
    return copy


def accuracy_on_the_test_set(folder: Path, config: Path) -> float:
    images = final_splits(load_config(config).data).held_out
    statistics = json.loads((folder / "metadata.json").read_text())["normalisation"]
    mean, std = (torch.tensor(statistics[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        guesses = results.load(folder)((images.images.float() - mean) / std).argmax(1)
    return (guesses == images.labels).double().mean().item()


@pytest.mark.slow
def test_the_weights_are_those_of_the_training_in_full(retrained):
    said = json.loads(retrained.said.stdout)
    best, evaluation = retrained.study().best(), retrained.study("tiny-evaluation")
    (training,) = evaluation.records
    assert (training.architecture_id, training.parameters["seed"]) == (best.architecture_id, 1)
    assert said["files"] == ["README.md", "architecture.yaml", "metadata.json", "model.safetensors"]
    weights = said["weights"]
    assert (weights["study"], weights["trial"], weights["seed"]) == ("tiny-evaluation", training.number, 1)
    assert weights["accuracy"] == training.accuracy
    assert "validation" in weights["trained_on"]
    assert "test images, once" in weights["scored_on"]
    folder = retrained.folder / "final"
    assert accuracy_on_the_test_set(folder, retrained.folder / "tiny.yaml") == training.accuracy
    metadata = json.loads((folder / "metadata.json").read_text())
    assert (metadata["study"], metadata["trial"]) == ("tiny", best.number)
    assert metadata["objectives"] == best.objectives


@pytest.mark.slow
def test_what_has_been_trained_in_full_is_not_trained_again(retrained):
    before = retrained.study("tiny-evaluation").records
    retrained.run("export", "tiny", "--retrain", *QUICK, "-o", "again")
    assert retrained.study("tiny-evaluation").records == before
    first, second = ((retrained.folder / name / "model.safetensors").read_bytes() for name in ("final", "again"))
    assert first == second


@pytest.mark.slow
def test_a_final_evaluation_is_not_trained_again(retrained):
    said = retrained.run("export", "tiny-evaluation", "--trial", "0", "--retrain", "-o", "other", code=2).stderr
    assert "is a final evaluation" in said
    assert not (retrained.folder / "other").exists()


@pytest.mark.slow
def test_nothing_but_json_is_on_stdout_however_much_is_made(retrained):
    said = json.loads(retrained.run("export", "tiny", "-o", "whole", "--json").stdout)
    assert {"model.onnx", "model.pt2", "model.py"} < set(said["files"])
    assert said["verified"]["largest_difference"]["model.safetensors"] == 0


@pytest.mark.slow
def test_a_signal_leaves_nothing_half_made(retrained):
    def unfinished():
        return list(retrained.folder.glob(".ended.*"))

    process = retrained.start("export", "tiny", "-o", "ended")
    deadline = time.monotonic() + 120
    while not unfinished() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert unfinished()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not unfinished()
    assert not (retrained.folder / "ended").exists()
