"""What the page knows of every trial, to show when its point is clicked."""

from typing import Any

from results.class_names import FEW_CLASSES
from results.records import FIGURES, TrialRecord
from results.report.recommendation import interval_of
from results.study import Study


def details(study: Study, images: int | None) -> dict[str, dict[str, Any]]:
    """By number, as text, plain data: what is not known is left out.

    ``sites`` is a row for each SE block: site, position, variant, widths. A trial whose architecture is not known has
    its parameters instead. ``by_class`` is the accuracy on each class, where there are few classes.

    Args:
        images: how many scored the trials, for intervals of their accuracies; None if unknown.
    """
    return {str(record.number): _details(record, images) for record in study.records}


def _details(record: TrialRecord, images: int | None) -> dict[str, Any]:
    known = {
        "state": record.state,
        "baseline": record.baseline,
        "accuracy": record.accuracy,
        "interval": interval_of(record, images),
        "last": record.curve[-1] if record.curve else None,
        "flops": record.flops,
        "params": record.params,
        "epochs": record.epochs,
        "duration": record.duration_s,
        "reason": record.fail_reason,
        "id": record.architecture_id,
        "objectives": {name: value for name, value in record.objectives.items() if name not in FIGURES},
        "by_class": _by_class(record),
    }
    return {name: value for name, value in known.items() if value not in (None, {}, [])} | _architecture(record)


def _by_class(record: TrialRecord) -> list[float | None]:
    if len(record.class_accuracies) > FEW_CLASSES:
        return []
    return [None if accuracy is None else round(accuracy, 4) for accuracy in record.class_accuracies]


def _architecture(record: TrialRecord) -> dict[str, Any]:
    architecture = record.architecture
    if architecture is None:
        return {"parameters": dict(record.parameters)}
    rows = [[site, se.position, se.variant, "-".join(map(str, se.hidden))] for site, se in architecture.sites]
    return {"backbone": architecture.backbone.name, "sites": rows}
