"""How the front grew: its hypervolume after each COMPLETE trial, over their number and over time."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import altair as alt

from results.charts.look import HEIGHT, LIGHT, WIDTH, styled

if TYPE_CHECKING:
    from results.analysis import HypervolumePoint

_UNITS = {"days": timedelta(days=1), "hours": timedelta(hours=1), "minutes": timedelta(minutes=1)}


def hypervolume(points: "Sequence[HypervolumePoint]") -> alt.TopLevelMixin | None:
    """A rising stair over the trials: where it is flat, further ones did not help.

    Returns:
        None without points.
    """
    return styled(_over_trials(points)) if points else None


def hypervolume_over_time(points: "Sequence[HypervolumePoint]") -> alt.TopLevelMixin | None:
    """The same over the time since the first of the trials ended, pauses of the search included.

    Returns:
        None unless two times at least are known.
    """
    return styled(_over_time(points)) if _passes(points) else None


def hypervolumes(points: "Sequence[HypervolumePoint]") -> alt.TopLevelMixin | None:
    """Over the trials, and below it over time, as far as it is known."""
    if not _passes(points):
        return hypervolume(points)
    return styled(alt.vconcat(_over_trials(points), _over_time(points)))


def _passes(points: "Sequence[HypervolumePoint]") -> bool:
    return len({point.ended for point in points} - {None}) > 1


def _over_trials(points: "Sequence[HypervolumePoint]") -> Any:
    places = range(1, len(points) + 1)
    return _stair(points, list(places), alt.X("x:Q", title="trials completed").axis(tickMinStep=1, grid=False))


def _over_time(points: "Sequence[HypervolumePoint]") -> Any:
    known = [(point, point.ended) for point in points if point.ended is not None]
    (_, first), (_, last) = known[0], known[-1]
    unit, length = next(
        ((name, length) for name, length in _UNITS.items() if last - first >= 2 * length),
        ("seconds", timedelta(seconds=1)),
    )
    passed = [(ended - first) / length for _, ended in known]
    x = alt.X("x:Q", title=f"{unit} since the first trial ended").axis(grid=False)
    return _stair([point for point, _ in known], passed, x)


def _stair(points: "Sequence[HypervolumePoint]", at: Sequence[float], x: alt.X) -> Any:
    values = [
        {
            "x": where,
            "completed": place,
            "number": point.number,
            "hypervolume": point.hypervolume,
            "ended": f"{point.ended:%Y-%m-%d %H:%M:%S} UTC" if point.ended else "unknown",
        }
        for place, (point, where) in enumerate(zip(points, at, strict=True), start=1)
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=x.scale(nice=False, zero=False),
        y=alt.Y("hypervolume:Q", title="hypervolume").scale(zero=False),
    )
    line = base.mark_line(interpolate="step-after", color=LIGHT["blue"], strokeWidth=2)
    dots = base.mark_point(filled=True, size=30, color=LIGHT["blue"], opacity=0.9, cursor="pointer").encode(
        tooltip=[
            alt.Tooltip("completed:Q", title="trials completed"),
            alt.Tooltip("number:Q", title="the last of them"),
            alt.Tooltip("ended:N"),
            alt.Tooltip("hypervolume:Q", format=".5~g"),
        ]
    )
    return alt.layer(line, dots).properties(width=WIDTH, height=HEIGHT * 2 // 3)
