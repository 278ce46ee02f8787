"""In which direction choices matter: the effect of each level on accuracy, with its 95% interval."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import altair as alt

from results.charts.look import LIGHT, WIDTH, styled

if TYPE_CHECKING:
    from results.analysis import Effect

_ROW, _WIDEST = 24, 260


def effects(found: "Sequence[Effect]") -> alt.TopLevelMixin | None:
    """Points with intervals about zero, a row each; filled where the interval leaves zero out.

    Returns:
        None without effects.
    """
    if not found:
        return None
    rows = [f"{effect.factor}: {effect.level} against {effect.reference}" for effect in found]
    values = [
        {
            "level": row,
            "trials": f"{effect.trials} against {effect.reference_trials}",
            "difference": 100 * effect.difference,
            "low": 100 * effect.low,
            "high": 100 * effect.high,
            "shown": "clear of zero" if effect.low > 0 or effect.high < 0 else "may be nothing",
        }
        for row, effect in zip(rows, found, strict=True)
    ]
    looks = {"clear of zero": LIGHT["blue"], "may be nothing": LIGHT["faint"]}
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("level:N", title=None, sort=rows).axis(ticks=False, grid=True, labelLimit=_WIDEST),
        color=alt.Color("shown:N").scale(domain=list(looks), range=list(looks.values())),
        tooltip=[
            alt.Tooltip("level:N"),
            alt.Tooltip("trials:N"),
            alt.Tooltip("difference:Q", title="points", format="+.2f"),
            alt.Tooltip("low:Q", title="from", format="+.2f"),
            alt.Tooltip("high:Q", title="to", format="+.2f"),
        ],
    )
    across = alt.X("low:Q", title="accuracy, percentage points").axis(format="+.3~f", tickCount=5).scale(padding=8)
    interval = base.mark_rule(strokeWidth=2.5).encode(x=across, x2="high:Q")
    point = base.mark_point(filled=True, size=80, opacity=1).encode(x="difference:Q")
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=LIGHT["muted"]).encode(x="zero:Q")
    return styled(alt.layer(zero, interval, point).properties(width=WIDTH, height=_ROW * len(rows)))
