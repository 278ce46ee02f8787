"""Multi-objective ASHA as a Ray Tune scheduler."""

from collections.abc import Hashable, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from nas.asha import Losses, MultiObjectiveASHA


def losses(curve: Sequence[float], flops: int) -> list[Losses]:
    """What ASHA minimises after each epoch: the negated accuracy, which that epoch measured, and the known FLOPs."""
    return [(-accuracy, float(flops)) for accuracy in curve]


class AshaScheduler(FIFOScheduler):
    """Starts trials in the order they come and stops those that ASHA says are hopeless.

    Baselines take part in the comparison but are never stopped: a study without them has nothing to compare with.
    """

    def __init__(self, asha: MultiObjectiveASHA) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._asha = asha

    def remember(self, number: Hashable, curve: Sequence[float], flops: int) -> None:
        """Puts a recorded trial on its rungs, as when a search goes on."""
        self._asha.record(number, losses(curve, flops))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ray's question after each epoch: go on or stop."""
        goes_on = self._asha.record(trial.config["number"], losses(result["curve"], trial.config["flops"]))
        return TrialScheduler.CONTINUE if goes_on or trial.config["is_baseline"] else TrialScheduler.STOP

    def debug_string(self) -> str:
        """One line for Ray's own status."""
        counts = ", ".join(f"{len(rung.recorded)} at {rung.epochs}" for rung in self._asha.rungs)
        return f"multi-objective ASHA, trials by rung in epochs: {counts}"
