"""ASHA's stopping variant: a trial trains on until a rung says that it is hopeless."""

from collections.abc import Sequence

from nas.asha.decisions import Asha, Verdict
from nas.asha.rungs import Losses


class StoppingASHA(Asha):
    """Decides once, when a trial reaches a rung: it goes on if it is among the best 1 / eta recorded there so far.

    Nothing is ever paused, so nothing is promoted.
    """

    def record(self, trial: int, curve: Sequence[Losses]) -> Verdict:
        """Takes in a trial's curve; STOP if it is not among the best of the last rung newly reached."""
        rung = self._take_in(trial, curve)
        return Verdict.GO_ON if rung is None or rung.is_among_the_best(trial) else Verdict.STOP

    def promote(self) -> None:
        """None: no trial is ever paused."""

    @property
    def has_promotable(self) -> bool:
        """False: no trial is ever paused."""
        return False

    def withdraw(self, trial: int) -> None:
        """Changes nothing: no trial is ever promoted."""
