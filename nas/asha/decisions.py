"""What both variants of ASHA share: what is recorded at which rung, and how trials stand there."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from enum import Enum

from nas.asha.rungs import Brackets, Losses, Range, Rung
from nas.asha.ties import TieBreak, epsilon_net


class Verdict(Enum):
    """What a trial that has reported is to do."""

    GO_ON = "go on"
    STOP = "stop"
    PAUSE = "pause"


class Asha(ABC):
    """The rungs of every bracket, and how trials stand there; a variant adds its decisions.

    Args:
        min_epochs: the first rung.
        max_epochs: the full budget, which is not a rung: a trial that gets there is done.
        eta: at each rung about 1 / eta of the trials go on; the rungs grow by it.
        ranges: for each objective the range that distances are scaled by, or None for the range recorded at the
            rung. SE moves FLOPs by less than 1 %, so costs are scaled by the space's own range.
        brackets: how many brackets share the trials; bracket s starts at ``min_epochs * eta^s``.
        ties: the order within a front.

    Raises:
        ValueError: min_epochs is not in [1, max_epochs], eta is below 2, there are no ranges or one is upside down,
            or there are no brackets or more than rung levels.
    """

    def __init__(
        self,
        *,
        min_epochs: int,
        max_epochs: int,
        eta: int,
        ranges: Sequence[Range | None],
        brackets: int = 1,
        ties: TieBreak = epsilon_net,
    ) -> None:
        self.eta = eta
        self._brackets = Brackets(min_epochs=min_epochs, max_epochs=max_epochs, eta=eta, brackets=brackets)
        _check(ranges)
        self._rungs = tuple(
            tuple(Rung(epochs, eta=eta, ranges=ranges, ties=ties) for epochs in levels)
            for levels in self._brackets.levels
        )

    @abstractmethod
    def record(self, trial: int, curve: Sequence[Losses]) -> Verdict:
        """Takes in a trial's losses after each epoch so far and decides what it does next.

        Each rung that the curve has reached is recorded once. The verdict is that of the last one newly reached;
        between rungs every trial goes on.

        Raises:
            ValueError: a loss at a rung is NaN, or there are more or fewer than the ranges.
        """

    @abstractmethod
    def promote(self) -> int | None:
        """The paused trial that is to be resumed next, which is marked as promoted; None if there is none."""

    @property
    @abstractmethod
    def has_promotable(self) -> bool:
        """Whether there is a paused trial to be resumed."""

    @abstractmethod
    def withdraw(self, trial: int) -> None:
        """Keeps a trial from being promoted: it ended, failed or goes on anyway. Others still compare with it."""

    def standing(self, trial: int) -> float:
        """The share of those recorded at the trial's highest rung that are ahead of it; 0 if it is on none."""
        rung = self._highest(trial)
        return 0.0 if rung is None else rung.ahead_of(trial) / len(rung.recorded)

    def may_go_on(self, trial: int) -> bool:
        """Whether the trial is among the best 1 / eta of its highest rung as things stand; True if it is on none."""
        rung = self._highest(trial)
        return rung is None or rung.is_among_the_best(trial)

    @property
    def counts(self) -> dict[int, int]:
        """How many trials have been recorded at each rung, by its epochs, all brackets together."""
        counts: Counter[int] = Counter()
        for rung in (rung for rungs in self._rungs for rung in rungs):
            counts[rung.epochs] += len(rung.recorded)
        return dict(counts)

    def _take_in(self, trial: int, curve: Sequence[Losses]) -> Rung | None:
        """Records what the curve has newly reached; the last such rung."""
        last = None
        for rung in self._rungs[self._brackets.of(trial)]:
            if rung.epochs <= len(curve) and trial not in rung.recorded:
                rung.record(trial, curve[rung.epochs - 1])
                last = rung
        return last

    def _highest(self, trial: int) -> Rung | None:
        rungs = self._rungs[self._brackets.of(trial)]
        return next((rung for rung in reversed(rungs) if trial in rung.recorded), None)


def _check(ranges: Sequence[Range | None]) -> None:
    if not ranges:
        raise ValueError("ranges must have an entry for each objective, and there must be at least 1, not 0")
    for given in ranges:
        if given is not None and not given[0] <= given[1]:
            raise ValueError(f"a range must be (low, high) with low <= high, not {given}")
