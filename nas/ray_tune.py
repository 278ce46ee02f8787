"""The engine as what Ray Tune knows: a searcher that gives out trials, a scheduler that judges them, a stopper.

A trial of Ray's is one assignment of the engine's. A trial of the study that is paused and goes on later, or whose
process was lost, comes back as another trial of Ray's, which restores it from its checkpoints.
"""

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from nas.asha import Verdict
from nas.engine import Assignment, Engine
from search_space.errors import first_line

log = logging.getLogger(__name__)


class StudySearcher(Searcher):
    """Gives out the engine's assignments.

    Args:
        ends: whether the search is to end when the running epochs do.
    """

    def __init__(self, engine: Engine, ends: Callable[[], bool]) -> None:
        super().__init__()
        self._engine = engine
        self._ends = ends
        self._has_told = False

    def suggest(self, trial_id: str) -> Any:
        """The next assignment as Ray's configuration of a trial, None for none now, or Ray's word for the end."""
        assignment = self._engine.next()
        if assignment is not None:
            return _as_config(assignment)
        # With nothing to run, Ray asks for nothing but the next trial.
        if not self._engine.has_assigned and self._ends():
            self._engine.drain()
        if self._engine.finished:
            return Searcher.FINISHED
        if not self._engine.has_assigned and not self._has_told:
            self._has_told = True
            log.warning("no node has room for a trial: waiting for one")
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the scheduler has told the engine, with all that it knows."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study DB has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study DB has it all."""


class AshaScheduler(FIFOScheduler):
    """Asks the engine whether a trial goes on, and tells it of trials that broke.

    Attributes:
        error: what the engine raised, if it did. Raised here, Ray would wrap it into pages of its own.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._engine = engine
        self._told: set[str] = set()
        self.error: Exception | None = None

    def on_trial_result(self, controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ray's question after each epoch: go on or stop. To pause is to stop for now."""
        try:
            return self._judge(trial, result)
        except Exception as error:
            self.error = error
            return TrialScheduler.STOP

    def on_trial_error(self, controller: Any, trial: Trial) -> None:
        """The process of a trial was lost, or did not start."""
        try:
            self._engine.lose(trial.config["number"], _why_it_was_lost(_error_of(trial)))
        except Exception as error:
            self.error = error

    def choose_trial_to_run(self, controller: Any) -> Trial | None:
        """None in particular: Ray starts what waits, in the order it was given out."""
        return None

    def _judge(self, trial: Trial, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        if result.get("fail_reason"):
            self._engine.fail(number, result["fail_reason"], result.get("traceback"))
            return TrialScheduler.STOP
        if result.get("halt_reason"):
            self._engine.halt(number, result["halt_reason"])
            return TrialScheduler.STOP
        for file in result.get("left_out", ()):
            if file not in self._told:
                self._told.add(file)
                log.warning("left out %s: it cannot be read as an image", file)
        measured = {"latency": result["latency"]} if result.get("latency") is not None else {}
        verdict = self._engine.report(number, result["history"], measured, result.get("class_accuracies", ()))
        return TrialScheduler.CONTINUE if verdict is Verdict.GO_ON else TrialScheduler.STOP


class SearchStopper(Stopper, Callback):
    """Ends the search where it is to end early, and tells the engine what runs and that time passes.

    Args:
        scheduler: whose error ends the search.
        ends: whether the search is to end when the running epochs do. It may raise, which ends the search at once.
    """

    def __init__(self, engine: Engine, scheduler: AshaScheduler, ends: Callable[[], bool]) -> None:
        self._engine = engine
        self._scheduler = scheduler
        self._ends = ends

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles it for a way of resuming that is not ours, and a DB's connection has no pickle."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop one trial: the scheduler's business."""
        return False

    def stop_all(self) -> bool:
        """Ray's question after every event."""
        if self._scheduler.error is not None:
            raise self._scheduler.error
        self._engine.tick()
        if not self._ends():
            return False
        self._engine.drain()
        return not self._engine.training

    def setup(self, *arguments: Any, **info: Any) -> None:
        """Ray is ready."""
        self._engine.begin()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has an actor."""
        self._engine.started(trial.config["number"])


def _as_config(assignment: Assignment) -> dict[str, Any]:
    return {
        "number": assignment.number,
        # As text, because Ray flattens nested configurations into names of folders.
        "architecture": json.dumps(assignment.architecture.to_dict()),
        "checkpoint": assignment.checkpoint,
        "latency": assignment.costs.get("latency"),
        "seed": assignment.seed,
    }


@contextmanager
def every_death_told() -> Iterator[None]:
    """Lets a search survive every way in which Ray ends a process, for the time of a block.

    Ray Tune knows of one, RayActorError, and ends with an error of its own at the others, such as that of Ray's memory
    monitor. There is no setting for it, so they are given to it as the one that it knows.
    """
    known = RayActorManager._actor_task_failed

    def any_death(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
        known(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = any_death  # type: ignore[method-assign]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = known  # type: ignore[method-assign]


def _error_of(trial: Trial) -> Exception | None:
    """What Ray has written of a trial's end. It is our own Ray's file, in our own folder."""
    file = trial.pickled_error_file
    if file is None or not Path(file).exists():
        return None
    try:
        error: Exception = pickle.loads(Path(file).read_bytes())
    except Exception as unreadable:  # of a class that only the worker knows
        return unreadable
    return error


def _why_it_was_lost(error: Exception | None) -> str:
    """Ray's pages of what may have happened, in a few words."""
    text = str(error)
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return f"its process did not start: {text.strip().splitlines()[-1]}"
    if "node has died" in text or "node was terminated" in text:
        return "the node that it ran on was lost"
    if "OutOfMemoryError" in text or "low on memory" in text:
        return "Ray ended its process, because the node ran low on memory"
    if error is None or isinstance(error, RayActorError):
        return "its process ended unexpectedly: it was killed, ran out of memory or crashed, or its node was lost"
    return f"its process was lost: {type(error).__name__}: {first_line(error)}"
