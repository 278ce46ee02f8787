"""Which architecture a study recommends, and how much its accuracy can be trusted.

The rule is that of ``senas export`` (:mod:`results.best`). The best of many on few images owes something to luck, so
where it was chosen by its accuracy, beside it stands the cheapest that these images cannot tell from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from results.records import TrialRecord
from results.study import Study

Interval = tuple[float, float]

_Z = 1.959964
"""Of the standard normal distribution, for 95%."""


@dataclass(frozen=True)
class Recommendation:
    """What a study recommends.

    Attributes:
        best: what ``senas export`` takes.
        images: how many images scored it; None if unknown.
        interval: the 95% interval of its accuracy as one measured on so many images; None if unknown, or if another
            objective than the accuracy is the first.
        cheaper: the cheapest trial of the front whose accuracy is within that interval, at less FLOPs than the best's.
    """

    best: TrialRecord
    images: int | None
    interval: Interval | None
    cheaper: TrialRecord | None


def recommend(study: Study) -> Recommendation | None:
    """The recommendation; None as long as no trial is COMPLETE."""
    best = study.best()
    if best is None:
        return None
    images = study.scoring_images
    interval = interval_of(best, images) if study.objectives[0].name == "accuracy" else None
    cheaper = None if interval is None else _cheapest(study.front(), best, interval)
    return Recommendation(best, images, interval, cheaper)


def interval_of(record: TrialRecord, images: int | None) -> Interval | None:
    """The 95% interval of a trial's accuracy; None if it is no share of images whose number is known."""
    if images is None or record.accuracy is None or not 0 <= record.accuracy <= 1:
        return None
    return wilson(record.accuracy, images)


def wilson(accuracy: float, images: int) -> Interval:
    """The 95% interval of a share that was counted on so many images (Wilson, 1927, doi 10.2307/2276774)."""
    spread = _Z**2 / images
    middle = (accuracy + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * sqrt(accuracy * (1 - accuracy) / images + spread / (4 * images))
    return max(0.0, middle - half), min(1.0, middle + half)


def _cheapest(front: Sequence[TrialRecord], best: TrialRecord, interval: Interval) -> TrialRecord | None:
    if best.flops is None:
        return None
    near = [trial for trial in front if trial.flops is not None and (trial.accuracy or 0.0) >= interval[0]]
    return next((trial for trial in near if trial.flops is not None and trial.flops < best.flops), None)
