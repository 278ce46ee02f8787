"""Multi-objective ASHA: stops a trial early when others did better, on every objective at once.

Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv
1810.05934), in its stopping form, with the order of one metric replaced by non-dominated sorting and an
epsilon-net within a front (Schmucker et al., "Multi-objective Asynchronous Successive Halving", arXiv
2106.12639). A trial is looked at when it has trained for ``min_epochs * eta^k`` epochs, a rung, and goes on if it
is among the best 1 / eta of all that have been recorded there.

Nothing here knows of Ray, a clock or a database. Losses are minimised: the caller negates what it maximises.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import dist, isfinite

from results.front import ranks

Losses = tuple[float, ...]
Range = tuple[float, float]


@dataclass
class Rung:
    """What trials had reached after a number of epochs: a position in the order of arrival means nothing."""

    epochs: int
    recorded: dict[Hashable, Losses] = field(default_factory=dict)


class MultiObjectiveASHA:
    """The rungs and the decisions.

    Args:
        min_epochs: the first rung.
        max_epochs: the full budget, which is not a rung: a trial that gets there is done.
        eta: at each rung about 1 / eta of the trials go on; the rungs grow by it.
        ranges: for each objective the range that distances are scaled by, or None for the range recorded at the
            rung. SE moves FLOPs by less than 1 %, so costs are scaled by the space's own range.

    Raises:
        ValueError: min_epochs is not in [1, max_epochs], or eta is below 2.
    """

    def __init__(self, *, min_epochs: int, max_epochs: int, eta: int, ranges: Sequence[Range | None]) -> None:
        if not 1 <= min_epochs <= max_epochs:
            raise ValueError(f"min_epochs must be in [1, max_epochs = {max_epochs}], not {min_epochs}")
        if eta < 2:
            raise ValueError(f"eta must be at least 2, not {eta}")
        self.eta = eta
        self.ranges = tuple(ranges)
        self.rungs = [Rung(epochs) for epochs in _milestones(min_epochs, max_epochs, eta)]

    def record(self, trial: Hashable, curve: Sequence[Losses]) -> bool:
        """Takes in a trial's losses after each epoch so far and decides whether it goes on.

        Each rung that the curve has reached is recorded once; the decision is that of the last one newly
        reached, and between rungs every trial goes on.
        """
        goes_on = True
        for rung in self.rungs:
            if rung.epochs <= len(curve) and trial not in rung.recorded:
                rung.recorded[trial] = curve[rung.epochs - 1]
                goes_on = self._is_among_the_best(trial, rung)
        return goes_on

    def _is_among_the_best(self, trial: Hashable, rung: Rung) -> bool:
        """Whether fewer than 1 / eta of those recorded are ahead; one always may go on, so the first does.

        Equal losses are ahead of each other neither way, so the order of arrival does not matter.
        """
        places = max(1, len(rung.recorded) // self.eta)
        return _ahead_of(rung.recorded[trial], list(rung.recorded.values()), self.ranges) < places


def _milestones(first: int, last: int, eta: int) -> list[int]:
    milestones = []
    while first < last:
        milestones.append(first)
        first *= eta
    return milestones


def _ahead_of(own: Losses, recorded: Sequence[Losses], ranges: Sequence[Range | None]) -> int:
    """How many of the recorded come before a point: all of better fronts, and of its own those earlier in the net."""
    counts = Counter(recorded)
    distinct = list(counts)
    rank_of = dict(zip(distinct, ranks(distinct), strict=True))
    better = sum(n for point, n in counts.items() if rank_of[point] < rank_of[own])
    members = [point for point in distinct if rank_of[point] == rank_of[own]]
    scales = [_scale(given, values) for given, values in zip(ranges, zip(*distinct, strict=True), strict=True)]
    ordered = _epsilon_net(members, scales)
    return better + sum(counts[point] for point in ordered[: ordered.index(own)])


def _epsilon_net(members: Sequence[Losses], scales: Sequence[Range]) -> list[Losses]:
    """A front's points, each next one the farthest from those before it on scaled axes.

    The first is the best in the first objective, so the most accurate trial is never stopped for being alike to
    others. Ties go to the better in that objective.
    """
    where = {
        point: tuple((v - low) / width for v, (low, width) in zip(point, scales, strict=True)) for point in members
    }
    waiting = sorted(members)
    ordered = [waiting.pop(0)]
    gaps = {point: dist(where[point], where[ordered[0]]) for point in waiting}
    while waiting:
        farthest = max(waiting, key=lambda point: gaps[point])
        waiting.remove(farthest)
        ordered.append(farthest)
        for point in waiting:
            gaps[point] = min(gaps[point], dist(where[point], where[farthest]))
    return ordered


def _scale(given: Range | None, values: Sequence[float]) -> Range:
    """Where an axis starts and how wide it is; an axis without width counts for nothing."""
    low, high = given or (min(values), max(values))
    width = high - low
    return (low, width) if width > 0 and isfinite(width) else (low, float("inf"))
