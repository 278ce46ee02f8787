"""The engine as what Ray Tune knows: a searcher that gives out trials, a scheduler that judges them, a stopper.

A trial of Ray's is one assignment of the engine's. A trial of the study that is paused and goes on later, or whose
process was lost, comes back as another trial of Ray's, which restores it from its checkpoints.
"""

import json
from collections.abc import Callable
from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from nas.asha import Verdict
from nas.engine import Assignment, Engine
from search_space.errors import first_line


class StudySearcher(Searcher):
    """Gives out the engine's assignments."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def suggest(self, trial_id: str) -> Any:
        """The next assignment as Ray's configuration of a trial, None for none now, or Ray's word for the end."""
        assignment = self._engine.next()
        if assignment is None:
            return Searcher.FINISHED if self._engine.finished else None
        return _as_config(assignment)

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
            self._engine.lose(trial.config["number"], _why_it_was_lost(trial.get_pickled_error()))
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
        measured = {"latency": result["latency"]} if result.get("latency") is not None else {}
        goes_on = self._engine.report(number, result["history"], measured) is Verdict.GO_ON
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP


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
    }


def _why_it_was_lost(error: Exception | None) -> str:
    """Ray's pages of what may have happened, in a few words."""
    text = str(error)
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return f"its process did not start: {text.strip().splitlines()[-1]}"
    if "node has died" in text or "node was terminated" in text:
        return "the node that it ran on was lost"
    if isinstance(error, OutOfMemoryError) or "low on memory" in text:
        return "Ray ended its process, because the node ran low on memory"
    if error is None or isinstance(error, RayActorError):
        return "its process ended unexpectedly: it was killed, ran out of memory or crashed, or its node was lost"
    return f"its process was lost: {type(error).__name__}: {first_line(error)}"
