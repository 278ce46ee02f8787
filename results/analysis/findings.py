"""What an analysis comes to, as plain data."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One row of an analysis."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON, times as ISO 8601."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


@dataclass(frozen=True)
class Importance(Finding):
    """How much a parameter has to do with an objective, as shares of 1 over the parameters of that objective.

    Attributes:
        ped_anova: in getting among the best trials (arXiv 2304.10255; for conditional parameters arXiv 2601.20800).
        fanova: in the objective's variance, by a random forest (Hutter et al., ICML 2014); None for a parameter that
            is not asked in most trials.
    """

    objective: str
    parameter: str
    ped_anova: float | None
    fanova: float | None


@dataclass(frozen=True)
class Effect(Finding):
    """What a choice does to the accuracy, all others being equal: 0.01 is a point.

    Attributes:
        factor: such as "SE at layer2", "position", "variant" or "ratio".
        level: what is compared, with ``reference``.
        trials: those that have the level, at one block at least.
        reference_trials: those that have the reference.
        difference: accuracy of the level less that of the reference.
        low: lower end of its 95% confidence interval.
        high: upper end.
    """

    factor: str
    level: str
    reference: str
    trials: int
    reference_trials: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class RungCorrelation(Finding):
    """How well the order of trials after ``epoch`` foretells that after ``last_epoch``.

    Attributes:
        trials: those that have both accuracies.
        rho: Spearman's rank correlation, -1 to 1.
        low: lower end of its 95% confidence interval.
        high: upper end.
    """

    epoch: int
    last_epoch: int
    trials: int
    rho: float
    low: float
    high: float


@dataclass(frozen=True)
class HypervolumePoint(Finding):
    """How far the front had got when a trial was completed.

    Attributes:
        number: of that trial.
        ended: when, in UTC; None if nobody recorded it.
        hypervolume: the share, 0 to 1, that the front dominates of the box from the best value seen of each
            objective to a tenth beyond the worst.
    """

    number: int
    ended: datetime | None
    hypervolume: float


@dataclass(frozen=True)
class Analysis:
    """What a study says of its choices.

    Attributes:
        importances: by objective, the most important parameter first.
        effects: by factor.
        rungs: by epoch.
        hypervolume: after each COMPLETE trial, in the order of their ending.
        notes: sentences on what the numbers are of, and on what could not be said and why.
    """

    importances: tuple[Importance, ...]
    effects: tuple[Effect, ...]
    rungs: tuple[RungCorrelation, ...]
    hypervolume: tuple[HypervolumePoint, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "importances": [importance.to_json() for importance in self.importances],
            "effects": [effect.to_json() for effect in self.effects],
            "rungs": [rung.to_json() for rung in self.rungs],
            "hypervolume": [point.to_json() for point in self.hypervolume],
            "notes": list(self.notes),
        }
