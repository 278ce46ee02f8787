"""What a study's objectives are called, and how their numbers read, on axes and in tooltips."""

import altair as alt

from results.study import Study

_TITLES = {
    "flops": "FLOPs",
    "params": "parameters",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
}
_UNITS = {"memory": "bytes", "latency": "s"}
_WHOLE = ("flops", "params", "memory")


def title(study: Study, name: str) -> str:
    """An objective or cost in words, such as "validation accuracy"; units are known of senas's own studies alone."""
    if name == "accuracy":
        return f"{study.scored_by} accuracy"
    if name in _UNITS and study.config is not None:
        return f"{name}, {_UNITS[name]}"
    return _TITLES.get(name, name)


def axis(name: str) -> alt.Axis:
    """An axis of that objective. SE moves FLOPs in the third or fourth digit, so that counts need many."""
    return alt.Axis(tickCount=6, format=".6~s") if name in _WHOLE else alt.Axis(tickCount=6)


def exact_format(name: str) -> str:
    """A d3 format for a tooltip."""
    if name in _WHOLE:
        return ",.0f"
    return ".4f" if name == "accuracy" else ".6~g"


def planes(study: Study) -> list[tuple[str, str]]:
    """The pairs of figures, (across, up), that show where trials stand: the first objective over each other one; over
    FLOPs or parameters, if they are known, where there is one objective alone.
    """
    up, *others = (objective.name for objective in study.objectives)
    known = [cost for cost in ("flops", "params") if any(getattr(record, cost) is not None for record in study.records)]
    return [(across, up) for across in others or known[:1]]
