"""Searches that are interrupted, by a signal or a kill at any moment, and go on as if they had not been."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from senas_command import Senas

from search_space import InputError

pytestmark = pytest.mark.slow

LONG = ("--set", "search.asha=null", "--set", "search.epochs=60")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_running_epochs_and_prints_the_front(senas, number, code):
    process = senas.start("search", "tiny.yaml", *LONG, "--set", "search.trials=7")
    senas.wait_until(lambda trials: any(trial.state == "RUNNING" and trial.epochs > 3 for trial in trials))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert f"{number.name}: finishing the running epochs" in err
    assert "front of tiny" in out
    trials = senas.study().trials()
    running = [trial for trial in trials if trial.state == "RUNNING"]
    assert running
    for trial in running:  # the epoch that was running is in the study, and in a checkpoint
        newest = max(int(folder.name[-4:]) for folder in (senas.folder / trial.checkpoint).glob("epoch-*"))
        assert newest == trial.epochs


def test_a_second_signal_ends_at_once(senas):
    process = senas.start(
        "search", "tiny.yaml", *LONG, "--set", "data.limit=1700", "--set", "backbone.options.width=64"
    )
    senas.wait_until(bool)
    time.sleep(5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_second_driver_is_refused_and_harms_nothing(senas):
    first = senas.start("search", "tiny.yaml", *LONG, "--set", "search.trials=6")
    senas.wait_until(lambda trials: len(trials) >= 2)
    refused = senas.run("search", "tiny.yaml", *LONG, "--set", "search.trials=6", code=2)
    assert "study 'tiny'" in refused.stderr
    assert str(first.pid) in refused.stderr
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 130


KILLS = 10
SLOW = ("--set", "search.asha=null", "--set", "search.epochs=10")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What a search comes to that nothing happens to."""
    senas = Senas(tmp_path_factory.mktemp("unbroken"))
    senas.run("search", "tiny.yaml", *SLOW)
    return senas.study().trials()


def test_a_search_killed_at_ten_random_moments_comes_to_what_an_unbroken_one_comes_to(senas, unbroken):
    rng = random.Random(int(os.environ.get("SENAS_TEST_SEED", "0")))
    command = ("search", "tiny.yaml", *SLOW, "--set", "resources.checkpoint_minutes=0.0002")
    kept: dict[int, tuple[float, ...]] = {}
    was_within_an_epoch = False
    for kill in range(KILLS):
        done = sum(map(len, kept.values()))
        process = senas.start(*command)
        if kill % 2:  # while epochs are trained
            senas.wait_until(lambda trials, done=done: sum(trial.epochs for trial in trials) > done)
            time.sleep(rng.uniform(0.0, 0.7))
        else:  # from the first imports to after Ray's start
            time.sleep(rng.uniform(0.0, 12.0))
        assert process.poll() is None, "the search is too short for so many kills"
        senas.kill(process)
        was_within_an_epoch |= any(senas.folder.rglob("epoch-*-step-*"))
        if (senas.folder / "senas.db").exists():
            try:
                trials = senas.study().trials()
            except InputError:
                continue
            for trial in trials:  # nothing that was recorded is lost or changed
                assert trial.curve[: len(kept.get(trial.number, ()))] == kept.get(trial.number, ())
                kept[trial.number] = trial.curve
    assert was_within_an_epoch
    senas.run(*command)
    trials = senas.study().trials()
    assert {trial.state for trial in trials} == {"COMPLETE"}
    assert len({trial.architecture_id for trial in trials}) == len(trials) == len(unbroken)
    broken_by_architecture = {trial.architecture_id: trial.curve for trial in trials}
    assert broken_by_architecture == {trial.architecture_id: trial.curve for trial in unbroken}


def test_a_kill_between_the_writes_that_end_a_trial_leaves_no_half_ended_one(senas):
    """The driver dies right after the first of the writes that end a trial."""
    dying = """
import os, sys
from nas import record
from nas.cli import main

def die(self, number, ending):
    os.killpg(0, 9)

record.StudyRecord._carry_out = die
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", dying, "search", "tiny.yaml"]
    subprocess.run(command, cwd=senas.folder, start_new_session=True, capture_output=True, timeout=120, check=False)
    (half,) = [trial for trial in senas.study().trials() if trial.metrics]
    assert half.state == "RUNNING"
    senas.run("search", "tiny.yaml", "--time-budget", "1s")
    ended = senas.study().trial(half.number)
    assert ended.state == "COMPLETE"
    assert ended.epochs == 4
