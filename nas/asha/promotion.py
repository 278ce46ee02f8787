"""ASHA's promotion variant: every trial pauses at a rung and is resumed if it proves to be among the best."""

from collections.abc import Sequence
from functools import cached_property

from nas.asha.decisions import Asha, Verdict
from nas.asha.rungs import Losses, Rung


class _Candidates:
    """Who is to be promoted from a rung: the best n // eta of the n recorded, less those settled.

    Settled are those promoted from here already and those withdrawn.
    """

    def __init__(self, rung: Rung) -> None:
        self.rung = rung
        self._waiting: list[int] = []
        self._as_of = 0

    def best(self) -> int | None:
        """The best candidate.

        Who is among the best changes only when another trial is recorded, so candidates are listed anew only then.
        """
        recorded = len(self.rung.recorded)
        if self._as_of != recorded:
            self._as_of = recorded
            self._waiting = self.rung.best(recorded // self.rung.eta)[::-1]
        while self._waiting and self.rung.is_settled(self._waiting[-1]):
            self._waiting.pop()
        return self._waiting[-1] if self._waiting else None


class PromotionASHA(Asha):
    """Promotes as ``get_job`` does in Algorithm 2 of Li et al., arXiv 1810.05934.

    From the highest rung down, and of rungs of equal epochs from the lowest bracket up, the first candidate found is
    promoted: the best of those that are among the best n // eta of the n recorded and have not been promoted from
    there. Where equal losses hold fewer places than there are trials, the lowest numbers are promoted.

    A search is rebuilt by recording whole curves, in any order: a trial whose curve goes past a rung has been
    promoted from it.
    """

    @cached_property
    def _top_down(self) -> list[_Candidates]:
        rungs = [rung for bracket in self._rungs for rung in bracket]
        return [_Candidates(rung) for rung in sorted(rungs, key=lambda rung: -rung.epochs)]

    def record(self, trial: int, curve: Sequence[Losses]) -> Verdict:
        """Takes in a trial's curve; PAUSE if it ends at a rung newly reached, where the trial is now a candidate.

        A trial that is no candidate there, as its curve goes past the rung or it was withdrawn, goes on: paused, it
        would never be resumed.
        """
        newly = self._take_in(trial, curve)
        for rung in self._rungs[self._brackets.of(trial)]:
            if rung.epochs < len(curve):
                rung.settle(trial)
        return Verdict.GO_ON if newly is None or newly.is_settled(trial) else Verdict.PAUSE

    def promote(self) -> int | None:
        """The paused trial that is to be resumed next, which is marked as promoted; None if there is none."""
        for candidates in self._top_down:
            trial = candidates.best()
            if trial is not None:
                candidates.rung.settle(trial)
                return trial
        return None

    @property
    def has_promotable(self) -> bool:
        """Whether there is a paused trial to be resumed."""
        return any(candidates.best() is not None for candidates in self._top_down)

    def withdraw(self, trial: int) -> None:
        """Keeps a trial from being promoted: it ended, failed or goes on anyway. Others still compare with it."""
        for rung in self._rungs[self._brackets.of(trial)]:
            rung.settle(trial)
