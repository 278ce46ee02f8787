"""How the charts look: one palette, one theme. They are drawn for light ground; a page replaces colours by names."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from search_space.palette import GROUND, HUES, Shades

PALETTE: Mapping[str, Shades] = {
    **GROUND,
    "faint": ("#aab2bb", "#6b7682"),
    "grid": ("#e3e7eb", "#262d36"),
    **HUES,
    "pink": ("#b3578c", "#cc79a7"),
}
"""Each colour on light and on dark ground. The hues are Okabe and Ito's (2008), for every kind of colour vision."""

LIGHT: Mapping[str, str] = {name: light for name, (light, _) in PALETTE.items()}

WIDTH, HEIGHT = 640, 360
"""Of a chart's plotting area, in pixels."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def styled(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """The chart in the theme that all of ours have."""
    themed: alt.TopLevelMixin = chart.configure(
        font=_FONT,
        background=LIGHT["paper"],
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            domainColor=LIGHT["faint"],
            gridColor=LIGHT["grid"],
            tickColor=LIGHT["faint"],
            labelColor=LIGHT["muted"],
            titleColor=LIGHT["ink"],
            labelFontSize=12,
            titleFontSize=13,
            titleFontWeight="normal",
            titlePadding=10,
            labelLimit=220,
            labelPadding=6,
        ),
        legend=alt.LegendConfig(
            orient="top",
            direction="horizontal",
            columns=2,
            title=None,
            labelColor=LIGHT["ink"],
            labelFontSize=12,
            labelLimit=260,
            symbolSize=90,
        ),
        title=alt.TitleConfig(anchor="start", color=LIGHT["ink"], fontSize=14, fontWeight=600),
        text=alt.MarkConfig(color=LIGHT["ink"]),
    )
    return themed


def for_page(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart's specification for a page that has the palette as CSS variables: ``var(--blue)`` and so on.

    So one drawing is right on light and on dark ground. The width is that of whatever holds the chart.
    """
    spec = chart.to_dict(validate=False)  # which takes longer than all else
    named = {light: f"var(--{name})" for name, light in LIGHT.items()}

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: inner if key in ("datasets", "data") else replaced(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return named.get(value, value) if isinstance(value, str) else value

    page: dict[str, Any] = replaced(spec)
    page["config"]["background"] = "transparent"
    return page | {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
