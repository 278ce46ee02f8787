"""The front's hypervolume as the search went on."""

from datetime import UTC, datetime
from math import isfinite

from results.analysis.findings import HypervolumePoint
from results.front import front
from results.hypervolume import Box
from results.records import TrialRecord
from results.study import Study

_LATEST = datetime.max.replace(tzinfo=UTC)

Losses = tuple[float, ...]


def growth(study: Study, notes: list[str]) -> tuple[HypervolumePoint, ...]:
    """The hypervolume after each COMPLETE trial, of its final values, in the order of their ending.

    The box is that of the whole study as it is now, the same for all points. So they never fall, and only those of one
    study at one time can be compared.
    """
    trials = sorted((trial for trial in study.records if trial.objectives), key=_ending)
    losses = [tuple(o.loss(trial.objectives[o.name]) for o in study.objectives) for trial in trials]
    usable = [(trial, point) for trial, point in zip(trials, losses, strict=True) if all(map(isfinite, point))]
    if not usable:
        notes.append("There is no hypervolume: no trial is complete.")
        return ()
    box = Box(point for _, point in usable)
    points, best, dominated = [], list[Losses](), 0.0
    for trial, point in usable:
        if point not in best:
            former, candidates = best, [*best, point]
            best = [candidates[index] for index in front(candidates)]
            dominated = box.dominated(best) if best != former else dominated
        points.append(HypervolumePoint(trial.number, trial.ended, dominated))
    return tuple(points)


def _ending(trial: TrialRecord) -> tuple[datetime, int]:
    return trial.ended or _LATEST, trial.number
