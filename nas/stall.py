"""When a search has stopped getting anywhere: its front's hypervolume does not grow any more."""

from collections.abc import Sequence
from math import isfinite

from nas.objectives import Objective
from results.hypervolume import Box


class StallRule:
    """Holds when the last ``trials`` trials that ended made the hypervolume grow by less than a fraction of it.

    It follows from the study alone, so a search that goes on finds what it found before. The hypervolume is that of
    the box around all completed trials.
    """

    def __init__(self, objectives: Sequence[Objective], *, trials: int, improvement: float) -> None:
        self._objectives = tuple(objectives)
        self._trials = trials
        self._improvement = improvement
        self._ended = 0
        self._complete: list[tuple[int, tuple[float, ...]]] = []
        self._held: tuple[int, bool] = (0, False)

    def completed(self, values: Sequence[float]) -> None:
        """A trial has ended with these values of the objectives."""
        losses = tuple(o.loss(value) for o, value in zip(self._objectives, values, strict=True))
        if all(map(isfinite, losses)):
            self._complete.append((self._ended, losses))
        self._ended += 1

    def ended(self) -> None:
        """A trial has ended without values."""
        self._ended += 1

    @property
    def holds(self) -> bool:
        """Whether the search has stalled; never before a trial was completed and as many others have ended since."""
        if self._held[0] != self._ended:
            self._held = (self._ended, self._holds_now())
        return self._held[1]

    def _holds_now(self) -> bool:
        before = [losses for index, losses in self._complete if index < self._ended - self._trials]
        if not before:
            return False
        every = [losses for _, losses in self._complete]
        box = Box(every)
        now, then = box.dominated(every), box.dominated(before)
        return now - then < self._improvement * now
