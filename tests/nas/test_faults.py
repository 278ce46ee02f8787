"""Searches in which things break: each fault is caused for real, and costs one trial at most."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from disks import needs_mounting, resize, small_disk

from nas.config import load_config
from nas.driver import search
from nas.engine import Listener

pytestmark = pytest.mark.slow

FAULTY = '''
"""Blocks that break while they train, and only then: pricing runs them too, on the meta device."""

import os
import signal
from pathlib import Path

import torch
from torch import nn


class Sound(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        if self.training and x.device.type != "meta":
            self.happen(x)
        return x * self.scale

    def happen(self, x):
        pass


class KillsOnce(Sound):
    def happen(self, x):
        if not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Kills(Sound):
    def happen(self, x):
        os.kill(os.getpid(), signal.SIGKILL)


class NotANumber(Sound):
    def forward(self, x):
        return super().forward(x) * float("nan") if self.training else x * self.scale


class TakesAllMemory(Sound):
    def happen(self, x):
        torch.empty(1 << 50)
'''


def searched_with(senas, block, *more):
    """A search in which about half of the trials that are not baselines have a block, at every site."""
    (senas.folder / "faulty.py").write_text(FAULTY)
    space = f"{{variant: [standard, 'faulty:{block}'], position: standard, ratio: [1], insertion: [true]}}"
    senas.run("search", "tiny.yaml", "--set", f"space={space}", "--set", "search.trials=8", "--set", "search.asha=null",
              "--set", "search.epochs=2", "--set", "search.sampler=exhaustive", *more)  # fmt: skip
    trials = senas.study().trials()
    return [t for t in trials if block in str(t.parameters)], [t for t in trials if block not in str(t.parameters)]


def test_a_worker_that_is_killed_is_replaced_and_its_trial_goes_on(senas):
    broken, others = searched_with(senas, "KillsOnce")
    assert {trial.state for trial in broken + others} == {"COMPLETE"}
    assert broken
    assert (senas.folder / "killed").exists()


def test_a_trial_that_kills_every_worker_fails_after_its_retries_and_alone(senas):
    broken, others = searched_with(senas, "Kills", "--set", "resources.retries=2")
    assert {trial.state for trial in others} == {"COMPLETE"}
    (trial,) = broken
    assert trial.state == "FAIL"
    assert trial.fail_reason == (
        "its process ended unexpectedly: it was killed, ran out of memory or crashed, or its node was lost "
        "(3 times in a row at epoch 1)"
    )


@pytest.mark.parametrize(
    ("block", "reason"),
    [("NotANumber", "DivergedError: the training loss is nan at epoch 1 of 2"), ("TakesAllMemory", "RuntimeError: ")],
)
def test_a_trial_that_diverges_or_runs_out_of_memory_fails_with_its_reason_and_alone(senas, block, reason):
    broken, others = searched_with(senas, block)
    assert {trial.state for trial in others} == {"COMPLETE"}
    (trial,) = broken
    assert trial.state == "FAIL"
    assert trial.fail_reason.startswith(reason)
    assert block == "NotANumber" or "memory" in trial.fail_reason


def test_a_worker_that_ray_ends_for_want_of_memory_fails_its_trial_with_that_reason(senas, monkeypatch):
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0001")  # every node is always low on memory
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "30000")  # time for the worker to begin
    words = ("--trials", "1", "--set", "search.epochs=100000", "--set", "search.asha=null")
    senas.run("search", "tiny.yaml", *words, "--set", "resources.retries=0", code=1)
    (trial,) = senas.study().trials()
    assert trial.state == "FAIL"
    assert trial.fail_reason == "Ray ended its process, because the node ran low on memory"


class EndsAtEpoch(Listener):
    """Cuts a search short by an error, as soon as a trial has so many epochs."""

    def __init__(self, number, epoch):
        self.number, self.epoch = number, epoch

    def progressed(self, number, history):
        if (number, len(history)) == (self.number, self.epoch):
            raise SystemExit


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before_it(senas, monkeypatch):
    monkeypatch.chdir(senas.folder)
    config = load_config(
        senas.folder / "tiny.yaml",
        ["search.asha=null", "search.epochs=5", "search.trials=1", "resources.max_concurrent=1"],
    )
    with pytest.raises(SystemExit):
        search(config, senas.storage, listener=EndsAtEpoch(0, 4))
    folder = senas.folder / "runs" / "tiny" / "checkpoints" / "trial-00000"
    newest = sorted(folder.glob("epoch-*"))[-1]
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    broken = senas.study().trial(0).curve

    seen = Epochs()
    search(config, senas.storage, listener=seen)

    trial = senas.study().trial(0)
    assert trial.state == "COMPLETE"
    assert trial.curve[: len(broken)] == broken
    assert seen.first == int(newest.name[-4:]) - 1  # what it went on from
    other = load_config(
        senas.folder / "tiny.yaml", ["search.asha=null", "search.epochs=5", "search.trials=1"], study="b"
    )
    search(other, senas.storage)
    assert senas.study("b").trial(0).curve == trial.curve


class Epochs(Listener):
    """Remembers how many epochs the first report was of."""

    def __init__(self):
        self.first = None

    def progressed(self, number, history):
        self.first = self.first or len(history)


@needs_mounting
def test_without_space_for_checkpoints_the_search_ends_and_goes_on_when_there_is_some(senas):
    words = (
        "search",
        "tiny.yaml",
        "--set",
        "search.asha=null",
        "--set",
        "search.trials=6",
        "--set",
        "checkpoints=small",
    )
    small = senas.folder / "small"
    with small_disk(small, "200k"):
        ended = senas.run(*words, code=1)
        assert "No space left on device" in ended.stderr
        assert "start the same command again" in ended.stderr
        before = senas.study().trials()
        assert "FAIL" not in {trial.state for trial in before}
        resize(small, "100m")
        senas.run(*words)
    after = senas.study().trials()
    assert {trial.state for trial in after} == {"COMPLETE"}
    assert len(after) == 6
    for trial in before:
        assert after[trial.number].curve[: trial.epochs] == trial.curve


def test_actors_are_reused_and_one_that_is_lost_is_replaced(senas, monkeypatch):
    """Two actors, or a third in the place of the one that is killed, train all trials to their end."""
    monkeypatch.chdir(senas.folder)
    killer = KillsAWorker()
    search(load_config(senas.folder / "tiny.yaml", ["search.asha=null"]), senas.storage, listener=killer)
    assert {trial.state for trial in senas.study().trials()} == {"COMPLETE"}
    assert len(killer.reasons) == 1
    assert len(killer.seen) <= 3


class KillsAWorker(Listener):
    """Notes the processes that train, and kills one of them in the middle of a trial."""

    def __init__(self):
        self.seen, self.reasons, self.killed = set(), [], None

    def progressed(self, number, history):
        now = set(actors_of_ours())
        self.seen |= now
        if self.killed is None and now and number >= 6 and len(history) >= 2:
            self.killed = min(now)
            os.kill(self.killed, signal.SIGKILL)

    def lost(self, number, reason):
        self.reasons.append(reason)


def actors_of_ours():
    """The processes that train, of the Ray that this process has started."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"ray::ResourceTrainable"):
                parent = int(entry.name)
                while parent > 1 and parent != os.getpid():
                    parent = int((Path("/proc") / str(parent) / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == os.getpid():
                    yield int(entry.name)


def test_an_image_that_goes_bad_ends_the_search_and_can_be_left_out(senas, tiny_images):
    streamed = f"data={{name: imagefolder, root: {tiny_images}, validation: 0.3, stream: true}}"
    command = ("search", "tiny.yaml", "--set", streamed, "--set", "search.asha=null", "--set", "search.epochs=8")
    process = senas.start(*command, "--trials", "6")
    senas.wait_until(lambda trials: any(trial.epochs for trial in trials))
    bad = next((tiny_images / "train" / "3").iterdir())
    bad.write_bytes(bytes(bad.stat().st_size))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"cannot read the image {bad}" in err
    assert "Nothing is lost" in err
    before = senas.study().trials()
    assert "FAIL" not in {trial.state for trial in before}
    went_on = senas.run(*command, "--trials", "6", "--set", "data.corrupt=skip")
    assert f"left out {bad}" in " ".join(went_on.stderr.split())
    after = senas.study().trials()
    assert {trial.state for trial in after} == {"COMPLETE"}
    for old, new in zip(before, after, strict=False):
        assert new.curve[: len(old.curve)] == old.curve
