"""Which architecture a study recommends, and how much its accuracy can be trusted.

The rule is that of ``senas export``: the COMPLETE trial of highest accuracy, of equal ones the cheapest. The best of
many on few images owes something to luck, so beside it stands the cheapest that these images cannot tell from it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isnan, sqrt

from results.records import TrialRecord
from results.study import Study

Interval = tuple[float, float]

_Z = 1.959964
"""Of the standard normal distribution, for 95%."""
_MOST_IMAGES = 200_000
_ROUNDING = 1e-9
"""A count over a number is kept to sixteen digits."""


@dataclass(frozen=True)
class Recommendation:
    """What a study recommends.

    Attributes:
        best: what ``senas export`` takes.
        images: how many images scored it, at least; None if unknown.
        interval: the 95% interval of its accuracy as one measured on so many images; None if unknown.
        cheaper: the cheapest trial of the front whose accuracy is within that interval, at less FLOPs than the best's.
    """

    best: TrialRecord
    images: int | None
    interval: Interval | None
    cheaper: TrialRecord | None


def recommend(study: Study) -> Recommendation | None:
    """The recommendation; None as long as no trial is COMPLETE."""
    best = study.best()
    if best is None or best.accuracy is None:
        return None
    images = scoring_images(study.records)
    interval = None if images is None else wilson(best.accuracy, images)
    cheaper = None if interval is None else _cheapest(study.front(), best, interval)
    return Recommendation(best, images, interval, cheaper)


def scoring_images(records: Iterable[TrialRecord]) -> int | None:
    """How many images scored the trials, at least, told by the accuracies themselves.

    Each is a count of images over their number, so the number is a multiple of the least one that makes all of them
    counts. That is smaller only if all counts have a divisor in common; intervals are then wider than they need be.

    Returns:
        None where no number of up to 200,000 makes all of them counts, and where there are no accuracies.
    """
    seen = {value for record in records for value in (*record.curve, record.accuracy) if value is not None}
    found = 1
    for accuracy in seen:
        if isnan(accuracy):
            continue
        if not 0 <= accuracy <= 1:
            return None
        multiple = _denominator(accuracy * found)
        if multiple is None or found * multiple > _MOST_IMAGES:
            return None
        found *= multiple
    return found if found > 1 else None


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


def _denominator(value: float) -> int | None:
    """The least number that makes a value whole, by continued fractions."""
    nearest = Fraction(value).limit_denominator(_MOST_IMAGES)
    return nearest.denominator if abs(value - nearest) * nearest.denominator < _ROUNDING else None
