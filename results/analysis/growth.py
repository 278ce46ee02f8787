"""The front's hypervolume as the search went on."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite

from results.analysis.findings import HypervolumePoint
from results.front import front
from results.hypervolume import hypervolume
from results.records import TrialRecord
from results.study import Study

_BEYOND_THE_WORST = 0.1
_LATEST = datetime.max.replace(tzinfo=UTC)

Losses = tuple[float, ...]


def growth(study: Study, notes: list[str]) -> tuple[HypervolumePoint, ...]:
    """The hypervolume after each COMPLETE trial, of its final values, in the order of their ending.

    Scale and reference point are those of the whole study as it is now, the same for all points: the box goes from
    the best value seen of each objective to a tenth of the range beyond the worst. So the points never fall, and only
    those of one study at one time can be compared.
    """
    trials = sorted((trial for trial in study.records if trial.objectives), key=_ending)
    losses = [tuple(o.loss(trial.objectives[o.name]) for o in study.objectives) for trial in trials]
    usable = [(trial, point) for trial, point in zip(trials, losses, strict=True) if all(map(isfinite, point))]
    if not usable:
        notes.append("There is no hypervolume: no trial is complete.")
        return ()
    scaled = _scaled([point for _, point in usable])
    reference = [1 + _BEYOND_THE_WORST] * len(study.objectives)
    box = hypervolume([[0.0] * len(reference)], reference)
    points, best, dominated = [], list[Losses](), 0.0
    for (trial, _), point in zip(usable, scaled, strict=True):
        if point not in best:
            former, candidates = best, [*best, point]
            best = [candidates[index] for index in front(candidates)]
            dominated = hypervolume(best, reference) / box if best != former else dominated
        points.append(HypervolumePoint(trial.number, ended(trial), dominated))
    return tuple(points)


def ended(trial: TrialRecord) -> datetime | None:
    """When a trial ended, in UTC; None if it has not, or nobody recorded it."""
    if trial.started is None or trial.duration_s is None:
        return None
    return trial.started + timedelta(seconds=trial.duration_s)


def _ending(trial: TrialRecord) -> tuple[datetime, int]:
    return ended(trial) or _LATEST, trial.number


def _scaled(losses: Sequence[Losses]) -> list[Losses]:
    """The best of each objective at 0, the worst at 1; an objective that never varies is 0."""
    axes = list(zip(*losses, strict=True))
    lows = [min(axis) for axis in axes]
    widths = [max(axis) - low or 1.0 for axis, low in zip(axes, lows, strict=True)]
    return [tuple((v - low) / width for v, low, width in zip(p, lows, widths, strict=True)) for p in losses]
