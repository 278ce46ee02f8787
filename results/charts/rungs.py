"""How well early epochs rank trials: Spearman's correlation of the accuracy then with that after the last epoch."""

from collections.abc import Sequence
from math import floor
from typing import TYPE_CHECKING

import altair as alt

from results.charts.look import HEIGHT, LIGHT, WIDTH, styled

if TYPE_CHECKING:
    from results.analysis import RungCorrelation


def rungs(found: "Sequence[RungCorrelation]") -> alt.TopLevelMixin | None:
    """A point for every rung, with its 95% interval: at 1 the rung has the final order, at 0 it says nothing of it.

    Returns:
        None without correlations.
    """
    if not found:
        return None
    values = [
        {"epoch": rung.epoch, "trials": rung.trials, "rho": rung.rho, "low": rung.low, "high": rung.high}
        for rung in found
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("epoch:Q", title="epoch")
        .axis(values=[rung.epoch for rung in found], grid=False)
        .scale(padding=24, nice=False, zero=False),
        tooltip=[
            alt.Tooltip("epoch:Q"),
            alt.Tooltip("rho:Q", title="rank correlation", format=".2f"),
            alt.Tooltip("low:Q", title="from", format=".2f"),
            alt.Tooltip("high:Q", title="to", format=".2f"),
            alt.Tooltip("trials:Q"),
        ],
    )
    name = f"rank correlation with epoch {found[0].last_epoch}"
    across = alt.Y("low:Q", title=name).scale(domain=[min(0.0, *(floor(10 * rung.low) / 10 for rung in found)), 1.0])
    intervals = base.mark_rule(color=LIGHT["blue"], strokeWidth=2).encode(y=across, y2="high:Q")
    points = base.mark_point(filled=True, size=90, color=LIGHT["blue"], opacity=1).encode(y="rho:Q")
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=LIGHT["faint"]).encode(y="zero:Q")
    return styled(alt.layer(zero, intervals, points).properties(width=WIDTH, height=HEIGHT * 2 // 3))
