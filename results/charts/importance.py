"""Which parameter matters for an objective: PED-ANOVA and fANOVA side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from results.charts.look import LIGHT, WIDTH, styled

if TYPE_CHECKING:
    from results.analysis import Importance

_METHODS = {"ped_anova": "PED-ANOVA", "fanova": "fANOVA"}
_MOST = 15
_ROW = 26


def importance(found: "Sequence[Importance]", objective: str) -> alt.TopLevelMixin | None:
    """The most important parameters for one objective, by either method, each as a share of the whole.

    Returns:
        None where nothing is known.
    """
    known = _known(found, objective)
    return styled(_drawn(known, objective)) if known else None


def importances(found: "Sequence[Importance]") -> alt.TopLevelMixin | None:
    """The same for every objective, one below the other."""
    objectives = dict.fromkeys(each.objective for each in found)
    charts = [_drawn(known, objective) for objective in objectives if (known := _known(found, objective))]
    return styled(alt.vconcat(*charts)) if charts else None


def _known(found: "Sequence[Importance]", objective: str) -> "list[Importance]":
    return [each for each in found if each.objective == objective and (each.ped_anova, each.fanova) != (None, None)]


def _drawn(importances: "Sequence[Importance]", objective: str) -> Any:
    ranked = sorted(importances, key=_either, reverse=True)[:_MOST]
    values = [
        {"parameter": found.parameter, "method": name, "share": share}
        for found in ranked
        for key, name in _METHODS.items()
        if (share := getattr(found, key)) is not None
    ]
    names = list(_METHODS.values())
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("parameter:N", title=None, sort=[found.parameter for found in ranked]).axis(grid=True, ticks=False)
    )
    span = base.mark_rule(color=LIGHT["faint"], strokeWidth=2).encode(x="min(share):Q", x2="max(share):Q")
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("share:Q", title="share of the importance").axis(format="%", tickCount=6).scale(domainMin=0),
        color=alt.Color("method:N").scale(domain=names, range=[LIGHT["blue"], LIGHT["orange"]]),
        shape=alt.Shape("method:N").scale(domain=names, range=["circle", "diamond"]),
        tooltip=["parameter:N", "method:N", alt.Tooltip("share:Q", format=".1%")],
    )
    of = f" ({len(ranked)} of {len(importances)} parameters)" if len(importances) > len(ranked) else ""
    return alt.layer(span, dots).properties(width=WIDTH, height=_ROW * len(ranked), title=f"{objective}{of}")


def _either(found: "Importance") -> float:
    return max(found.ped_anova or 0.0, found.fanova or 0.0)
