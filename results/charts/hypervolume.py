"""How the front grew: its hypervolume after each COMPLETE trial, in the order of their ends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import altair as alt

from results.charts.look import HEIGHT, LIGHT, WIDTH, styled

if TYPE_CHECKING:
    from results.analysis import HypervolumePoint


def hypervolume(points: "Sequence[HypervolumePoint]") -> alt.TopLevelMixin | None:
    """A rising stair: where it is flat, further trials did not help.

    Returns:
        None without points.
    """
    if not points:
        return None
    values = [
        {"completed": place, "number": point.number, "hypervolume": point.hypervolume}
        for place, point in enumerate(points, start=1)
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("completed:Q", title="trials completed").axis(tickMinStep=1, grid=False).scale(nice=False, zero=False),
        y=alt.Y("hypervolume:Q", title="hypervolume").scale(zero=False),
    )
    line = base.mark_line(interpolate="step-after", color=LIGHT["blue"], strokeWidth=2)
    dots = base.mark_point(filled=True, size=30, color=LIGHT["blue"], opacity=0.9, cursor="pointer").encode(
        tooltip=[
            alt.Tooltip("completed:Q", title="trials completed"),
            alt.Tooltip("number:Q", title="the last of them"),
            alt.Tooltip("hypervolume:Q", format=".5~g"),
        ]
    )
    return styled(alt.layer(line, dots).properties(width=WIDTH, height=HEIGHT * 2 // 3))
