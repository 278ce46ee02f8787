"""The kinds of charts, by the names that the command line knows them by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import altair as alt

from results.analysis import Analysis, analyze
from results.charts.curves import curves
from results.charts.effects import effects
from results.charts.front import front
from results.charts.hypervolume import hypervolumes
from results.charts.importance import importances
from results.charts.rungs import rungs
from results.study import Study
from search_space.errors import InputError, unknown


@dataclass(frozen=True)
class _Kind:
    """A way to draw a study, None where there is nothing to draw; and what it takes for there to be something."""

    draw: Callable[[Study], alt.TopLevelMixin | None]
    takes: str


def _analysed(draw: Callable[[Analysis], alt.TopLevelMixin | None]) -> Callable[[Study], alt.TopLevelMixin | None]:
    return lambda study: draw(analyze(study))


KINDS: Mapping[str, _Kind] = {
    "front": _Kind(front, "a complete trial with two objectives or a cost"),
    "curves": _Kind(curves, "a trial with an epoch's accuracy"),
    "hypervolume": _Kind(_analysed(lambda found: hypervolumes(found.hypervolume)), "a complete trial"),
    "importance": _Kind(_analysed(lambda found: importances(found.importances)), "complete trials that differ"),
    "effects": _Kind(_analysed(lambda found: effects(found.effects)), "trials with and without each choice"),
    "rungs": _Kind(_analysed(lambda found: rungs(found.rungs)), "several trials with whole curves"),
}


def chart(study: Study, kind: str) -> alt.TopLevelMixin:
    """A study as the chart of that kind.

    Raises:
        InputError: there is no such kind, or nothing to draw yet.
    """
    if kind not in KINDS:
        raise unknown("kind of chart", kind, KINDS)
    drawn = KINDS[kind].draw(study)
    if drawn is None:
        raise InputError(f"study '{study.name}' has no {kind} to draw: it takes {KINDS[kind].takes}")
    return drawn
