"""A search in virtual time: what it would do with any number of workers, on curves that are known beforehand.

The searcher and the scheduler are those of a real search, over the same engine and study; in place of Ray there is a
queue of events, and in place of training a curve. So a study of hours on many GPUs takes seconds on one core, and
runs the same each time: of what happens at the same moment, the trial with the lower number comes first.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, NamedTuple, cast

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from ray.tune.schedulers import TrialScheduler

from nas.assembly import make_engine
from nas.config import Config
from nas.engine import Engine, Listener
from nas.objectives import Entry
from nas.plan import plan
from nas.ray_tune import AshaScheduler, StudySearcher
from nas.record import Facts, StudyRecord
from search_space.architecture import Architecture


class EpochDone(NamedTuple):
    """An epoch that has been trained.

    Attributes:
        seconds: when it was done, in virtual time.
        epoch: which of the trial's, from 1.
    """

    seconds: float
    trial: int
    epoch: int


class Loss(NamedTuple):
    """A worker's process is lost at a virtual time, and replaced at once. One that is idle then loses nothing."""

    seconds: float
    worker: int


@dataclass(frozen=True)
class Simulation:
    """What a simulated search came to. Curves and values are in the study.

    Attributes:
        seconds: of virtual time, until no trial was left.
        states: how many trials of the study there are, by their state's name.
        utilisation: the share of that time that the workers were training, epochs that were lost included.
        events: the epochs in the order they were done. A trial's last is the moment it ended, or was paused for good.
    """

    seconds: float
    states: Mapping[str, int]
    utilisation: float
    events: Sequence[EpochDone]

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.events)


@dataclass(frozen=True)
class Curves:
    """What training would come to, by architecture.

    Attributes:
        measured: the entry of each epoch. A curve shorter than the full budget is that of a trial that breaks there.
        seconds_per_epoch: how long each epoch takes.
        latency: what is measured as a trial starts, if that is an objective.
    """

    measured: Callable[[Architecture], Sequence[Entry]]
    seconds_per_epoch: Callable[[Architecture], float]
    latency: Callable[[Architecture], float] | None = None


def simulate(
    config: Config,
    curves: Curves,
    *,
    workers: int,
    losses: Iterable[Loss] = (),
    storage: BaseStorage | None = None,
    listener: Listener | None = None,
) -> Simulation:
    """Runs the search of a configuration, or goes on with it, until its study has all of its trials.

    Nothing but training and pausing takes time: starting a process, deciding and writing are done at once.

    Args:
        workers: how many trials are trained at once.
        storage: where the study is; in memory if not said.
        listener: told of what happens, as in a real search.

    Raises:
        InputError: the configuration, or the study that is there, is wrong.
        ValueError: there are no workers.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # as for a study in a DB
    planned = plan(config)
    record = StudyRecord.open(storage or InMemoryStorage(), config, planned.objectives, _FACTS)
    trained = {trial.number: len(trial.intermediate_values) for trial in record.trials()}
    engine = make_engine(planned, record, slots=lambda: workers, listener=listener)
    run = _Run(engine, curves, workers, losses, trained)
    run.to_the_end()
    states = Counter(trial.state.name for trial in record.trials())
    spent = workers * run.now
    return Simulation(run.now, dict(states), run.busy_seconds / spent if spent else 0.0, tuple(run.events))


_FACTS = Facts(normalisation={}, fingerprints={}, run={"simulated": True})


@dataclass
class _Process:
    """A trial on a worker; to the scheduler, as much of Ray's Trial as it asks for."""

    config: Mapping[str, Any]
    worker: int
    began: float
    curve: Sequence[Entry]
    seconds: float
    latency: float | None

    @property
    def number(self) -> int:
        return int(self.config["number"])

    def result(self, epochs: int) -> dict[str, Any]:
        """What the actor of a real search reports."""
        if epochs > len(self.curve):
            return {"fail_reason": f"its curve ends after epoch {len(self.curve)}", "history": []}
        return {"history": [dict(entry) for entry in self.curve[:epochs]], "latency": self.latency}

    pickled_error_file = None
    """None: a process that was lost here cannot tell why."""


@dataclass(order=True)
class _Event:
    """At one moment epochs come before losses, and lower numbers (of trials, of workers) before higher ones."""

    seconds: float
    is_loss: bool
    number: int
    serial: int
    process: _Process | None = field(default=None, compare=False)
    epochs: int = field(default=0, compare=False)


class _Run:
    def __init__(
        self, engine: Engine, curves: Curves, workers: int, losses: Iterable[Loss], trained: Mapping[int, int]
    ) -> None:
        self.now = 0.0
        self.busy_seconds = 0.0
        self.events: list[EpochDone] = []
        self._engine = engine
        self._searcher = StudySearcher(engine, lambda: False)
        self._scheduler = AshaScheduler(engine)
        self._curves = curves
        self._trained = dict(trained)
        self._idle = list(range(workers))
        self._busy: dict[int, _Process] = {}
        self._serial = count()
        self._queue = [_Event(loss.seconds, True, loss.worker, next(self._serial)) for loss in losses]
        heapify(self._queue)

    def to_the_end(self) -> None:
        """Runs until no trial is left."""
        self._engine.begin()
        self._fill_the_idle()
        while self._busy:
            event = heappop(self._queue)
            process = self._busy.get(event.number) if event.is_loss else event.process
            if process is None or self._busy.get(process.worker) is not process:
                continue  # an idle worker's loss, or an epoch of a process that was lost
            self.now = event.seconds
            if event.is_loss:
                self._lose(process)
            else:
                self._report(process, event.epochs)
            self._fill_the_idle()

    def _raise_what_went_wrong(self) -> None:
        if self._scheduler.error is not None:
            raise self._scheduler.error

    def _fill_the_idle(self) -> None:
        while self._idle:
            config = self._searcher.suggest(str(next(self._serial)))
            if not isinstance(config, dict):
                if config is None and not self._busy:
                    raise RuntimeError("the search is not finished, but no trial is left to be trained")
                return
            self._start(config)

    def _start(self, config: Mapping[str, Any]) -> None:
        architecture = Architecture.from_dict(json.loads(config["architecture"]))
        latency = config["latency"]
        if latency is None and self._curves.latency is not None:
            latency = self._curves.latency(architecture)
        worker = heappop(self._idle)
        process = self._busy[worker] = _Process(
            config,
            worker,
            self.now,
            self._curves.measured(architecture),
            self._curves.seconds_per_epoch(architecture),
            latency,
        )
        self._engine.started(process.number)
        done = self._trained.get(process.number, 0)
        if done:
            # An actor that takes a trial over first reports what the one before it had reached.
            self._schedule(process, done, 0.0)
        else:
            self._schedule(process, 1, process.seconds)

    def _schedule(self, process: _Process, epochs: int, seconds: float) -> None:
        event = _Event(self.now + seconds, False, process.number, next(self._serial), process, epochs)
        heappush(self._queue, event)

    def _report(self, process: _Process, epochs: int) -> None:
        if self._trained.get(process.number, 0) < epochs <= len(process.curve):
            self._trained[process.number] = epochs
            self.events.append(EpochDone(self.now, process.number, epochs))
        decision = self._scheduler.on_trial_result(None, cast(Any, process), process.result(epochs))
        self._raise_what_went_wrong()
        if decision == TrialScheduler.CONTINUE:
            self._schedule(process, epochs + 1, process.seconds)
        else:
            self._free(process)

    def _lose(self, process: _Process) -> None:
        self._scheduler.on_trial_error(None, cast(Any, process))
        self._raise_what_went_wrong()
        self._free(process)

    def _free(self, process: _Process) -> None:
        del self._busy[process.worker]
        heappush(self._idle, process.worker)
        self.busy_seconds += self.now - process.began
