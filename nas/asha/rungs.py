"""The rungs: after how many epochs trials are compared, with whom, and in what order they stand.

The order is total up to equal losses: the better front first, and within a front as the strategy for ties says.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice, takewhile
from math import inf, isinf

import numpy as np

from nas.asha.fronts import Fronts, Points
from nas.asha.ties import TieBreak

Losses = tuple[float, ...]
"""What a trial has reached in each objective; all are minimised, and inf stands for a metric that failed."""

Range = tuple[float, float]
"""The lowest and the highest that an objective can be."""


class Rung:
    """What trials had reached after a number of epochs; the order in which they arrived means nothing.

    Args:
        epochs: the epochs a trial has trained for when it gets here.
        eta: about 1 / eta of those recorded go on.
        ranges: for each objective the range that distances are scaled by, or None for that of the finite losses
            recorded here.
        ties: the order within a front.
    """

    def __init__(self, epochs: int, *, eta: int, ranges: Sequence[Range | None], ties: TieBreak) -> None:
        self.epochs = epochs
        self.eta = eta
        self.recorded: dict[int, Losses] = {}
        self._ranges = tuple(ranges)
        self._ties = ties
        self._fronts = Fronts(len(self._ranges))
        self._trials: dict[Losses, list[int]] = {}
        self._indices: dict[int, int] = {}
        self._settled: set[int] = set()
        # By the index of the losses: how many trials of those have not been settled.
        self._open = np.empty(0, dtype=np.intp)
        self._extremes: list[Range] = [(inf, -inf)] * len(self._ranges)

    def record(self, trial: int, losses: Losses) -> None:
        """Takes in a trial that has got here, once.

        Raises:
            ValueError: it is here already, a loss is NaN, or there are more or fewer than the objectives.
        """
        if trial in self.recorded:
            raise ValueError(f"a trial is recorded at a rung once, and {trial} has been at {self.epochs} epochs")
        losses = tuple(map(float, losses))
        index = self._fronts.add(losses)
        if index == len(self._open):
            self._open = np.append(self._open, 0)
        self._open[index] += trial not in self._settled
        self._indices[trial] = index
        self.recorded[trial] = losses
        insort(self._trials.setdefault(losses, []), trial)
        self._extremes = [
            (low, high) if isinf(loss) else (min(low, loss), max(high, loss))
            for loss, (low, high) in zip(losses, self._extremes, strict=True)
        ]

    def is_among_the_best(self, trial: int) -> bool:
        """Whether fewer than 1 / eta of those recorded are ahead; one always may go on, so the first does.

        Equal losses are ahead of each other neither way, so whoever came first has no advantage.
        """
        own = self.recorded[trial]
        places = max(1, len(self.recorded) // self.eta)
        rank = self._fronts.rank(own)
        left = places - self._fronts.ahead(rank)
        if left <= 0:
            return False
        if self._fronts.size(rank) - len(self._trials[own]) < left:
            return True
        return sum(1 for _ in islice(self._before(own, rank), left)) < left

    def ahead_of(self, trial: int) -> int:
        """How many of those recorded are ahead of a recorded trial."""
        own = self.recorded[trial]
        rank = self._fronts.rank(own)
        return self._fronts.ahead(rank) + sum(1 for _ in self._before(own, rank))

    def settle(self, trial: int) -> None:
        """Leaves a trial, recorded by now or later, out of what ``best`` lists; it keeps its place all the same."""
        if trial not in self._settled:
            self._settled.add(trial)
            if trial in self._indices:
                self._open[self._indices[trial]] -= 1

    def is_settled(self, trial: int) -> bool:
        """Whether a trial has been settled."""
        return trial in self._settled

    def best(self, places: int) -> list[int]:
        """The trials that hold the first places, in order, without those settled, who hold theirs all the same.

        Of equal losses the lowest trial number comes first.
        """
        ranks, sizes = self._fronts.ranks, self._fronts.sizes
        ahead = sizes.cumsum() - sizes
        best: list[int] = []
        for rank in np.unique(ranks[(self._open > 0) & (ahead[ranks] < places)]).tolist():
            ordered = (trial for losses in self._ordered(rank) for trial in self._trials[losses])
            best += (trial for trial in islice(ordered, places - int(ahead[rank])) if trial not in self._settled)
        return best

    def _before(self, own: Losses, rank: int) -> Iterator[int]:
        for losses in takewhile(lambda losses: losses != own, self._ordered(rank)):
            yield from self._trials[losses]

    def _ordered(self, rank: int) -> Iterator[Losses]:
        members = self._fronts.members(rank)
        for row in self._ties(members, self._scaled(members)):
            yield tuple(members[row].tolist())

    def _scaled(self, points: Points) -> Points:
        """The points on axes that ranges have made comparable; an axis without width counts for nothing."""
        scaled = np.zeros_like(points)
        for axis, (given, recorded) in enumerate(zip(self._ranges, self._extremes, strict=True)):
            low, high = given or recorded
            if 0 < high - low < inf:
                scaled[:, axis] = (points[:, axis] - low) / (high - low)
        scaled[np.isinf(points)] = inf
        return scaled


def rung_levels(min_epochs: int, max_epochs: int, eta: int) -> list[int]:
    """The epochs of the rungs: ``min_epochs * eta^k`` below ``max_epochs``, where a trial is done.

    Raises:
        ValueError: min_epochs is not in [1, max_epochs], or eta is below 2.
    """
    if not 1 <= min_epochs <= max_epochs:
        raise ValueError(f"min_epochs must be in [1, max_epochs = {max_epochs}], not {min_epochs}")
    if eta < 2:
        raise ValueError(f"eta must be at least 2, not {eta}")
    levels = []
    while min_epochs < max_epochs:
        levels.append(min_epochs)
        min_epochs *= eta
    return levels


class Brackets:
    """Which rungs a trial stands on: halving early saves most, and errs where curves cross.

    Bracket s starts at ``min_epochs * eta^s``, s its early-stopping rate (Li et al., arXiv 1810.05934, section 3.3),
    and so has h = K - s rungs, where K are those of bracket 0. Hyperband (Li et al., arXiv 1603.06560) counts h and
    gives a bracket ceil((K + 1) / (h + 1) * eta^h) trials, so that all brackets cost about the same. Here a bracket
    has that share of the trials: eta^h / (h + 1), divided by the sum of these over the brackets there are.

    A trial's bracket follows from its number alone, so a search that is continued assigns the same. The numbers are
    spread over [0, 1) by the multiples of the golden ratio, so that the shares hold for any stretch of trials, and
    not merely in the long run.

    Args:
        min_epochs: the first rung of bracket 0.
        max_epochs: the full budget.
        eta: the factor from rung to rung.
        brackets: how many there are, from bracket 0 on.

    Raises:
        ValueError: there are no brackets or more than rung levels, min_epochs is not in [1, max_epochs], or eta is
            below 2.
    """

    def __init__(self, *, min_epochs: int, max_epochs: int, eta: int, brackets: int = 1) -> None:
        levels = rung_levels(min_epochs, max_epochs, eta)
        most = max(1, len(levels))
        if not 1 <= brackets <= most:
            raise ValueError(f"brackets must be in [1, {most}], one for each rung level, not {brackets}")
        self.levels = tuple(tuple(levels[bracket:]) for bracket in range(brackets))
        weights = [eta ** len(rungs) / (len(rungs) + 1) for rungs in self.levels]
        self.shares = tuple(weight / sum(weights) for weight in weights)
        self._bounds = tuple(accumulate(self.shares))[:-1]

    def of(self, trial: int) -> int:
        """The bracket of a trial."""
        return bisect_right(self._bounds, trial * _GOLDEN % 2**32 / 2**32)


# The golden ratio's fraction of 2^32: its multiples, modulo 2^32, leave no large gap (Knuth, TAOCP 3, section 6.4).
_GOLDEN = 2654435769
