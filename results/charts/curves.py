"""Learning curves: accuracy after every epoch, where ASHA stopped a trial and where one broke."""

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import Any

import altair as alt

from results.charts.look import HEIGHT, LIGHT, WIDTH, styled
from results.records import TrialRecord
from results.study import Study

_KINDS = {
    "stopped early": (LIGHT["faint"], 0.6),
    "running": (LIGHT["green"], 0.8),
    "failed": (LIGHT["pink"], 0.9),
    "complete": (LIGHT["blue"], 0.45),
    "baseline": (LIGHT["ink"], 0.8),
    "on the front": (LIGHT["orange"], 1.0),
}
"""Colour and opacity, from the least to the most important: later ones are drawn over earlier ones."""
_BY_STATE = {"PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "running", "WAITING": "running"}
_ENDS = {"stopped early": "triangle-down", "failed": "cross"}
_MOST_LABELS = 10


def curves(study: Study) -> alt.TopLevelMixin | None:
    """The curve of every trial; a triangle ends one that ASHA stopped, a cross one that failed.

    Lines mark the epochs at which trials were stopped, with how many were.

    Returns:
        None if no trial has a curve.
    """
    drawn = [_entry(record) for record in study.records if any(map(isfinite, record.curve))]
    if not drawn:
        return None
    drawn.sort(key=lambda entry: list(_KINDS).index(entry["kind"]))
    x = alt.X("epoch:Q", title="epoch").axis(tickMinStep=1, grid=False).scale(nice=False, zero=False, padding=12)
    y = alt.Y("accuracy:Q", title=f"{study.scored_by} accuracy").scale(zero=False)
    layers = [*_stops(study.records, x), _lines(drawn, x, y)]
    if ends := [_end(entry) for entry in drawn if entry["kind"] in _ENDS or len(entry["curve"]) == 1]:
        layers.append(_marks(ends, x, y))
    return styled(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def _entry(record: TrialRecord) -> dict[str, Any]:
    curve = [accuracy if isfinite(accuracy) else None for accuracy in record.curve]
    kind = _kind(record)
    epochs = list(record.by_epoch)
    return {"number": record.number, "kind": kind, "opacity": _KINDS[kind][1], "epochs": epochs, "curve": curve}


def _kind(record: TrialRecord) -> str:
    if record.state in _BY_STATE:
        return _BY_STATE[record.state]
    if record.is_pareto:
        return "on the front"
    return "baseline" if record.is_baseline else "complete"


def _end(entry: dict[str, Any]) -> dict[str, Any]:
    """The last epoch that has a number."""
    pairs = zip(entry["epochs"], entry["curve"], strict=True)
    epoch, accuracy = max((epoch, value) for epoch, value in pairs if value is not None)
    return {key: entry[key] for key in ("number", "kind")} | {"epoch": epoch, "accuracy": accuracy}


def _lines(drawn: Sequence[dict[str, Any]], x: alt.X, y: alt.Y) -> alt.Chart:
    kinds = [kind for kind in _KINDS if any(entry["kind"] == kind for entry in drawn)]
    colours = [_KINDS[kind][0] for kind in kinds]
    folded = alt.Chart(alt.InlineData(values=list(drawn)))
    unfolded = folded.transform_flatten(["epochs", "curve"], ["epoch", "accuracy"])
    lines: alt.Chart = unfolded.mark_line(strokeWidth=1.5, cursor="pointer").encode(
        x=x,
        y=y,
        detail="number:N",
        color=alt.Color("kind:N").scale(domain=kinds, range=colours),
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
        order="epoch:Q",
        tooltip=[alt.Tooltip("number:N", title="trial"), alt.Tooltip("kind:N", title="state")],
    )
    return lines


def _marks(ends: Sequence[dict[str, Any]], x: alt.X, y: alt.Y) -> alt.Chart:
    kinds = list(dict.fromkeys(end["kind"] for end in ends))
    shapes = alt.Scale(domain=kinds, range=[_ENDS.get(kind, "circle") for kind in kinds])
    marks = alt.Chart(alt.InlineData(values=list(ends))).mark_point(filled=True, size=40, cursor="pointer")
    encoded: alt.Chart = marks.encode(
        x=x,
        y=y,
        color="kind:N",
        shape=alt.Shape("kind:N", legend=None, scale=shapes),
        tooltip=[
            alt.Tooltip("number:N", title="trial"),
            alt.Tooltip("kind:N", title="state"),
            alt.Tooltip("epoch:Q", title="epochs"),
            alt.Tooltip("accuracy:Q", title="accuracy then", format=".4f"),
        ],
    )
    return encoded


def _stops(records: Sequence[TrialRecord], x: alt.X) -> list[alt.Chart]:
    """A line at every epoch at which trials were stopped; how many, where there is room for it."""
    stopped = Counter(max(record.by_epoch) for record in records if record.state == "PRUNED" and record.curve)
    if not stopped:
        return []
    values = [{"epoch": epoch, "label": f"{count} out"} for epoch, count in sorted(stopped.items())]
    base = alt.Chart(alt.InlineData(values=values)).encode(x=x)
    lines = base.mark_rule(color=LIGHT["faint"], strokeDash=[2, 3])
    if len(values) > _MOST_LABELS:
        return [lines]
    labels = base.mark_text(align="left", baseline="bottom", dx=4, dy=-4, fontSize=11, color=LIGHT["muted"])
    return [lines, labels.encode(y=alt.value(HEIGHT), text="label:N")]
