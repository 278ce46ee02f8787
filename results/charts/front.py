"""The front: where the COMPLETE trials stand, and which of them nothing beats."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import altair as alt

from results.charts.axes import axis, exact_format, planes, title
from results.charts.look import HEIGHT, LIGHT, WIDTH, styled
from results.records import TrialRecord
from results.study import Study
from search_space.summary import summarise

_KINDS = {
    "on the front": ("circle", LIGHT["orange"], 130),
    "baseline": ("diamond", LIGHT["ink"], 120),
    "complete": ("circle", LIGHT["blue"], 70),
    "stopped early": ("triangle-down", LIGHT["faint"], 50),
}
"""Shape, colour, and area in square pixels."""
_FRONT, _BASELINE, _COMPLETE, _STOPPED = _KINDS


def front(
    study: Study, plane: tuple[str, str] | None = None, *, with_stopped: bool = False
) -> alt.TopLevelMixin | None:
    """The COMPLETE trials in the plane of two objectives, the front as a line, baselines by their names.

    With more than two objectives the front is not a line in any plane: its members are coloured alone.

    Args:
        study: any.
        plane: (across, up), two figures of a trial; if not given, the first objective over the second.
        with_stopped: a box to tick below the chart, which shows the PRUNED trials too, at their last epoch's accuracy.

    Returns:
        None if no trial is COMPLETE, or all have one figure alone.
    """
    across, up = plane or next(iter(planes(study)), (None, None))
    if across is None or up is None:
        return None
    wanted = [record for record in study.records if record.state == "COMPLETE"]
    if with_stopped and up == "accuracy":
        wanted += [record for record in study.records if record.state == "PRUNED"]
    points = [point for record in wanted if (point := _point(record, across, up)) is not None]
    points.sort(key=lambda point: list(_KINDS).index(point["kind"]), reverse=True)  # the last is drawn on top
    if not any(point["kind"] != _STOPPED for point in points):
        return None
    kinds = [kind for kind in _KINDS if any(point["kind"] == kind for point in points)]
    data = alt.Chart(alt.InlineData(values=points))
    if _STOPPED in kinds:
        data = data.transform_filter(f"stopped || datum.kind != '{_STOPPED}'")
    base = data.encode(
        x=alt.X("x:Q", title=title(study, across), axis=axis(across)).scale(zero=False),
        y=alt.Y("y:Q", title=title(study, up), axis=axis(up)).scale(zero=False, padding=12),
    )
    line = [_line(study, base, across)] if len(study.objectives) == 2 else []
    layers = [*line, _marks(study, base, across, up, kinds), *_names(base, points)]
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return styled(chart.add_params(_box()) if _STOPPED in kinds else chart)


def _point(record: TrialRecord, across: str, up: str) -> dict[str, Any] | None:
    x, y = record.figure(across), record.figure(up)
    if record.state == "PRUNED":
        y = record.curve[-1] if record.curve else None
    if x is None or y is None or not (isfinite(x) and isfinite(y)):
        return None
    described = "" if record.architecture is None else summarise(record.architecture)
    kind = _kind(record)
    point = {"number": record.number, "kind": kind, "area": _KINDS[kind][2], "x": x, "y": y, "epochs": record.epochs}
    return point | {"front": record.is_pareto, "name": record.baseline or "", "architecture": described}


def _kind(record: TrialRecord) -> str:
    if record.state == "PRUNED":
        return _STOPPED
    if record.is_baseline:
        return _BASELINE
    return _FRONT if record.is_pareto else _COMPLETE


def _line(study: Study, base: alt.Chart, across: str) -> alt.Chart:
    """What the front dominates is on one side of a stair through its members."""
    right_is_better = any(objective.maximize for objective in study.objectives if objective.name == across)
    line = base.mark_line(
        color=LIGHT["orange"],
        strokeWidth=1.5,
        opacity=0.7,
        interpolate="step-before" if right_is_better else "step-after",
    )
    stair: alt.Chart = line.encode(order="x:Q").transform_filter("datum.front")
    return stair


def _marks(study: Study, base: alt.Chart, across: str, up: str, kinds: list[str]) -> alt.Chart:
    shapes, colours, _ = (list(looks) for looks in zip(*(_KINDS[kind] for kind in kinds), strict=True))
    points = base.mark_point(filled=True, opacity=0.85, stroke=LIGHT["paper"], strokeWidth=1, cursor="pointer")
    marks: alt.Chart = points.encode(
        shape=alt.Shape("kind:N").scale(domain=kinds, range=shapes),
        color=alt.Color("kind:N").scale(domain=kinds, range=colours),
        size=alt.Size("area:Q", scale=None, legend=None),
        tooltip=list(_tooltip(study, across, up)),
    )
    return marks


def _tooltip(study: Study, across: str, up: str) -> Iterator[alt.Tooltip]:
    yield alt.Tooltip("number:Q", title="trial")
    yield alt.Tooltip("y:Q", title=title(study, up), format=exact_format(up))
    yield alt.Tooltip("x:Q", title=title(study, across), format=exact_format(across))
    yield alt.Tooltip("epochs:Q", title="epochs")
    yield alt.Tooltip("name:N", title="baseline")
    yield alt.Tooltip("architecture:N", title="architecture")


def _names(base: alt.Chart, points: Sequence[dict[str, Any]]) -> Iterator[alt.Chart]:
    """The baselines' names, above their points: to the right of them on the left half, and the other way round.

    Those at one point share a text.
    """
    left, right = min(point["x"] for point in points), max(point["x"] for point in points)
    at: dict[tuple[float, float], list[str]] = defaultdict(list)
    for point in points:
        if point["name"]:
            at[point["x"], point["y"]].append(point["name"].removesuffix(" everywhere"))
    labels = [{"x": x, "y": y, "name": ", ".join(names)} for (x, y), names in at.items()]
    middle = (left + right) / 2
    for mark, chosen in (
        (alt.MarkDef("text", align="left", dx=-4), [label for label in labels if label["x"] <= middle]),
        (alt.MarkDef("text", align="right", dx=4), [label for label in labels if label["x"] > middle]),
    ):
        if chosen:
            mark["dy"], mark["fontSize"], mark["color"] = -12, 11, LIGHT["muted"]
            texts = alt.Chart(alt.InlineData(values=chosen), mark=mark)
            yield texts.encode(x=base.encoding.x, y=base.encoding.y, text="name:N")


def _box() -> alt.Parameter:
    return alt.param(name="stopped", value=False, bind=alt.binding_checkbox(name="show the stopped trials too "))
