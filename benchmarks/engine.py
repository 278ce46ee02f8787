"""What a search costs beside training: driver time per trial, and how fast a search in virtual time is.

    python benchmarks/engine.py [--trials 200] [--plain-trials 30] [--repeats 3] [--samplers random tpe]
        [--simulated 1000] [--workers 1 16 256 1024] [--only engine plain simulator] [--profile FILE]

Nothing is trained: a trial takes no time and reports a recorded curve, so all that is left is what a driver, Ray and
the study DB take. Up to 9 epochs, eta 3, 2 trials at once, on an SQLite file. Three tables:

- ``engine``: a whole search of ours as ``senas search`` runs it, with its lease, its study DB and multi-objective ASHA.
  Wall clock and the driver process's own CPU time, by trial, and by thousand trials, so that growth is visible.
- ``plain``: Ray Tune's OptunaSearch (accuracy up, FLOPs down, SQLite) with its ASHAScheduler on accuracy, on the same
  curves, with Ray's default settings: a function, and a class whose actors are reused. Beside it, ours for as many
  trials. Each repeat runs all of them, one after the other; the ratio is the reused actors' time of the same repeat
  divided by this one's. In 30 trials the start of the first two actors weighs as much as all else, for both sides.
- ``simulator``: the same search in virtual time, in one process.

Starting Ray is not counted; starting the first actors is.

On 2026-11-21, 2 cores of an AMD EPYC, nothing else running, Ray 2.60, Optuna 5.0, random sampler, in ms a trial:

``--only engine --trials 1000 10000``, one run each: 17.0 for 1,000 trials (14.0 of CPU time), 20.5 for 10,000 (18.6).
Of the latter, 18.1 for the first thousand and 25.1 for the last: a trial's cost grows by 39 % from the one to the
other, and by 21 % from search to search.

``--only plain``, the median of 3 repeats of 30 trials and of 2 of 300 (least to most), and how many times the time of
ours it is in the same repeat:

==============================  =====================  ===================
                                30 trials              300 trials
==============================  =====================  ===================
Ray and Optuna, functions       999.1 (996.0-1005.2)
Ray and Optuna, reused actors   178.6 (120.4-188.1)    64.9 (64.4-65.5)
ours                            75.2 (66.6-75.9)       26.6 (24.5-28.7)
reused actors to ours           2.50 (1.59-2.68)       2.45 (2.28-2.62)
==============================  =====================  ===================

So like for like ours takes two fifths of the plain time. Of 30 trials the start of the actors is the larger part, on
both sides; what a long search pays, 17 to 21, is a tenth of what 30 plain trials are charged: no fair ratio.

``--only simulator --simulated 10000 --workers 256``: 24.6 s.

TPE is not in these figures. Its own proposals take 49 ms at 1,000 known trials and about 4 s at 10,000 (CPU time, on a
busy machine, 16 parameters): Optuna sorts all of them anew for each.
"""

import argparse
import cProfile
import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from nas import cluster
from nas.assembly import make_engine
from nas.config import Config, parse_config
from nas.driver import train
from nas.engine import Listener
from nas.lease import Lease
from nas.plan import Plan, plan
from nas.record import Ending, Facts, StudyRecord
from nas.samplers import SAMPLERS
from nas.simulator import Curves, simulate
from nas.storage import open_storage, writing_engine
from nas.trial_rows import create_by_rows
from search_space import Architecture

EPOCHS = 9
AT_ONCE = 2
BLOCK = 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[200])
    parser.add_argument("--plain-trials", type=int, nargs="+", default=[30])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"])
    parser.add_argument("--simulated", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 16, 256, 1024])
    parser.add_argument("--only", nargs="+", default=["engine", "plain", "simulator"])
    parser.add_argument("--profile", type=Path, help="where cProfile's figures of the engine's searches go")
    asked = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    if "engine" in asked.only:
        print(f"{'engine':40}{'trials':>10}{'ms a trial':>12}{'CPU ms':>12}")
        for sampler in asked.samplers:
            for trials in asked.trials:
                print_blocks(sampler, ours(trials, sampler, asked.profile))
    if "plain" in asked.only:
        print(f"{'plain':40}{'trials':>10}{'median ms':>12}{'fastest':>12}{'slowest':>12}{'ratio':>18}")
        for sampler in asked.samplers:
            for trials in asked.plain_trials:
                compare(trials, sampler, asked.repeats)
    if "simulator" in asked.only:
        print(f"{'simulator':40}{'trials':>10}{'seconds':>12}{'makespan':>12}{'utilised':>12}")
        for workers in asked.workers:
            start = time.perf_counter()
            found = simulate(configuration(asked.simulated, "random"), CURVES, workers=workers)
            print(
                f"{f'{workers:,} workers':40}{sum(found.states.values()):>10,}{time.perf_counter() - start:>12.1f}"
                f"{found.seconds:>12,.0f}{found.utilisation:>12.1%}"
            )


_MOST_FUNCTIONS = 100
"""Above so many trials, functions, at a second each, are left out."""


def compare(trials: int, sampler: str, repeats: int) -> None:
    """Ours beside the plain combinations, all in each repeat."""
    searches: dict[str, Callable[[], float]] = {
        "Ray and Optuna, reused actors": lambda: plain(trials, sampler, Recorded),
        "Ray and Optuna, functions": lambda: plain(trials, sampler, recorded),
        "ours": lambda: ours(trials, sampler)[-1].wall * 1000 / trials,
    }
    if trials > _MOST_FUNCTIONS:
        del searches["Ray and Optuna, functions"]
    found: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(repeats):
        for name, run in searches.items():
            found[name].append(run())
    reused = found["Ray and Optuna, reused actors"]
    for name, each in found.items():
        ratios = [one / other for one, other in zip(reused, each, strict=True)]
        print(
            f"{f'{name}, {sampler}':40}{trials:>10,}{statistics.median(each):>12.1f}{min(each):>12.1f}"
            f"{max(each):>12.1f}{f'{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})':>18}",
            flush=True,
        )


class Moment:
    """How far a search had come: trials that ended, seconds by the clock, and seconds of this process's CPU time."""

    def __init__(self, ended: int, wall: float, cpu: float) -> None:
        self.ended, self.wall, self.cpu = ended, wall, cpu


class Stopwatch(Listener):
    """Notes the time after every so many trials."""

    def __init__(self) -> None:
        self.moments: list[Moment] = [Moment(0, 0.0, 0.0)]
        self._ended = 0
        self._began = time.perf_counter(), time.process_time()

    def ended(self, number: int, ending: Ending) -> None:
        """One more."""
        self._ended += 1
        if self._ended % BLOCK == 0:
            self.note()

    def note(self) -> None:
        """Notes the time now."""
        wall, cpu = self._began
        self.moments.append(Moment(self._ended, time.perf_counter() - wall, time.process_time() - cpu))


def ours(trials: int, sampler: str, profile: Path | None = None) -> list[Moment]:
    """How far a search of ours had come, and when: at its beginning, after every thousand trials and at its end."""
    config = configuration(trials, sampler)
    planned = plan(config)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/senas.db"
        opened = open_storage(url)
        rows = writing_engine(url)
        with Lease.take(rows, config.study) as lease, cluster.connected(None, config):

            def ends() -> bool:
                lease.check()
                return False

            trainable = tune.with_resources(Replayed, {"cpu": 1, "gpu": 0})
            watch = Stopwatch()
            with profiled(profile):
                record = StudyRecord.open(
                    opened, config, planned.objectives, Facts({}, {}, {}), create=create_by_rows(rows)
                )
                engine = make_engine(planned, record, slots=lambda: AT_ONCE, listener=watch)
                train(engine, trainable, ends, config.study)
            watch.note()
        opened.remove_session()
    return watch.moments


def plain(trials: int, sampler: str, trainable: Any) -> float:
    """Milliseconds a trial of Ray Tune with Optuna."""
    space = the_plan().space
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            tune.run(
                tune.with_resources(trainable, {"cpu": 1}),
                search_alg=OptunaSearch(
                    asked_for,
                    metric=["accuracy", "flops"],
                    mode=["max", "min"],
                    sampler=SAMPLERS[sampler](space, 0),
                    storage=optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db"),
                ),
                scheduler=ASHAScheduler(
                    metric="accuracy", mode="max", max_t=EPOCHS, grace_period=1, reduction_factor=3
                ),
                num_samples=trials,
                max_concurrent_trials=AT_ONCE,
                reuse_actors=isinstance(trainable, type),
                storage_path=f"{folder}/ray",
                verbose=0,
            )
            return (time.perf_counter() - start) * 1000 / trials
    finally:
        ray.shutdown()


@cache
def the_plan() -> Plan:
    """The space and its prices, which are the same for any number of trials."""
    return plan(configuration(1, "random"))


def asked_for(trial: Any) -> dict[str, Any]:
    """The same space, chosen parameter by parameter as Optuna does, and what the curve of the choice needs."""
    architecture = the_plan().space.suggest(trial)
    return {"id": architecture.id, "blocks": len(architecture.sites), "flops": the_plan().price(architecture).flops}


class Recorded(tune.Trainable):
    """Reports a recorded curve, as a plain trainable does."""

    def setup(self, config: dict[str, Any]) -> None:
        """Takes the first trial."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next one."""
        self._flops, self._left = new_config["flops"], iter(curve(new_config["id"], new_config["blocks"]))
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        return {"accuracy": next(self._left), "flops": self._flops}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to take up."""


def recorded(config: dict[str, Any]) -> None:
    """The same as a function."""
    for accuracy in curve(config["id"], config["blocks"]):
        tune.report({"accuracy": accuracy, "flops": config["flops"]})


class Replayed(tune.Trainable):
    """Reports a recorded curve as our own actor reports what it measures."""

    def setup(self, config: dict[str, Any]) -> None:
        """Takes the first trial."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next one."""
        self._curve = measured(Architecture.from_dict(json.loads(new_config["architecture"])))
        self._epoch = 0
        return True

    def step(self) -> dict[str, Any]:
        """One epoch more."""
        self._epoch += 1
        return {"history": self._curve[: self._epoch], "latency": None}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to take up."""


def curve(identity: str, blocks: int) -> list[float]:
    """Accuracy by epoch: a power law to an end that is better with more blocks, and each architecture's own luck."""
    luck = random.Random(identity)
    end = 0.7 + 0.01 * blocks + luck.gauss(0, 0.03)
    steep = luck.uniform(0.5, 1.5)
    return [end - 0.4 * epoch**-steep + luck.gauss(0, 0.005) for epoch in range(1, EPOCHS + 1)]


def measured(architecture: Architecture) -> list[dict[str, float]]:
    """The curve of an architecture, as an actor reports it."""
    return [{"accuracy": accuracy} for accuracy in curve(architecture.id, len(architecture.sites))]


CURVES = Curves(measured, lambda architecture: 1 + 0.05 * len(architecture.sites))
"""In virtual time, an epoch takes a second, and a twentieth more for each block."""


def configuration(trials: int, sampler: str) -> Config:
    """A search of six million architectures."""
    return parse_config(
        {
            "study": "engine",
            "backbone": {"name": "resnet20"},
            "data": {"name": "digits"},
            "space": {"ratio": {"choices": [4, 8, 16], "per": "layer"}},
            "search": {"trials": trials, "epochs": EPOCHS, "sampler": sampler, "asha": {"eta": 3}},
        }
    )


def print_blocks(sampler: str, moments: Sequence[Moment]) -> None:
    """The whole search, and where there is more than one, each block of its trials."""
    whole = [(moments[0], moments[-1])]
    blocks = list(pairwise(moments))
    for begin, end in whole + (blocks if len(blocks) > 2 else []):
        trials = end.ended - begin.ended
        if trials:
            name = f"{sampler}, {begin.ended:,} to {end.ended:,}"
            wall, cpu = (1000 * seconds / trials for seconds in (end.wall - begin.wall, end.cpu - begin.cpu))
            print(f"{name:40}{trials:>10,}{wall:>12.1f}{cpu:>12.1f}", flush=True)


@contextmanager
def profiled(file: Path | None) -> Iterator[None]:
    """Profiles a block into a file, where there is one."""
    if file is None:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.dump_stats(file)


if __name__ == "__main__":
    main()
