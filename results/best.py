"""The best trial of a study: the one rule that exports, reports, tables and evaluations go by.

The best is the COMPLETE trial with the best value of the study's first objective, in that objective's direction. Of
equal ones the later objectives decide, in their order, then fewer FLOPs, then the lower number. A value that is not
finite counts as unknown.
"""

from collections.abc import Iterable, Sequence
from math import inf, isfinite, isnan

from results.records import TrialRecord
from results.tables import Objective

_Rank = tuple[float, ...]


def best_of(records: Iterable[TrialRecord], objectives: Sequence[Objective]) -> TrialRecord | None:
    """Return the best of some trials.

    Args:
        records: in any state; only COMPLETE ones are considered.
        objectives: those of the study, the first of which decides.

    Returns:
        None if no COMPLETE trial has a finite value of the first objective.
    """
    first = objectives[0]
    known = [record for record in records if record.state == "COMPLETE" and isfinite(_loss(record, first))]
    return min(known, key=lambda record: rank(record, objectives), default=None)


def rank(record: TrialRecord, objectives: Sequence[Objective]) -> _Rank:
    """Return what trials are sorted by to have better ones first."""
    flops = inf if record.flops is None else record.flops
    return (*(_loss(record, objective) for objective in objectives), flops, record.number)


def _loss(record: TrialRecord, objective: Objective) -> float:
    """The value as something to minimize; one that is unknown or NaN is the worst there is."""
    value = record.figure(objective.name)
    return inf if value is None or isnan(value) else objective.loss(value)


def value_text(name: str, value: float | None) -> str:
    """Return the value of an objective as text for people; nothing where there is none."""
    if value is None:
        return ""
    if name == "accuracy":
        return f"{value:.4f}"
    return f"{value:,.0f}" if name in _COUNTS and isfinite(value) else f"{value:.4g}"


_COUNTS = ("flops", "params", "memory")
