"""One trial of a study, as it was when the study was read."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, get_args

from results.remote import join
from search_space.architecture import Architecture
from search_space.errors import InputError

State = Literal["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]

STATES: tuple[State, ...] = get_args(State)

FIGURES = ("accuracy", "flops", "params")
"""The objectives that are attributes of a record too; others are among its objectives alone."""


def checkpoint_folder(checkpoints: str, number: int) -> str:
    """Where a trial's checkpoints lie, under the folder or the URL of its study's."""
    return join(checkpoints, f"trial-{number:05d}")


@dataclass(frozen=True)
class TrialRecord:
    """One trial. What the study does not say, or does not say yet, is None.

    Attributes:
        accuracy: final top-1 on the validation split, 0 to 1. Only a COMPLETE trial has one, so that a partial
            curve is never mistaken for it.
        flops: multiply-adds of one forward pass of one image; known from the start, in every state.
        params: number of parameters. Both are whole numbers in a study of senas's.
        epochs: epochs done. None for a COMPLETE trial without a curve, whose epochs nobody recorded.
        duration_s: seconds from start to end, pauses included; None until the trial has ended.
        started: when it started, in UTC.
        ended: when it ended, in UTC; None until it has, or if nobody recorded it.
        is_pareto: COMPLETE, and no other COMPLETE trial is better in every objective of the study.
        curve: accuracy on the validation split after each recorded epoch; NaN where training diverged.
        steps: the epoch of each of those, rising; not given, they are 1, 2, 3 and so on.
        baseline: the baseline's name if this trial is one, such as "no SE".
        checkpoint: the folder, or the URL, that holds the trial's checkpoints, one folder per epoch.
        parameters: what Optuna proposed, by parameter name.
        metrics: further figures of the last epoch, such as "loss".
        class_accuracies: final accuracy on the images of each class, in the order of labels, None for a class without
            images; empty unless COMPLETE, above 100 classes, and where the study does not say.
        objectives: the final value of each objective by its name; empty unless COMPLETE.
        architecture_json: the architecture as the study DB holds it; read :attr:`architecture` instead.
    """

    number: int
    state: State
    architecture_id: str | None = None
    accuracy: float | None = None
    flops: float | None = None
    params: float | None = None
    epochs: int | None = 0
    duration_s: float | None = None
    started: datetime | None = None
    is_pareto: bool = False
    curve: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    fail_reason: str | None = None
    baseline: str | None = None
    checkpoint: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    metrics: Mapping[str, Any] = field(default_factory=dict, hash=False)
    objectives: Mapping[str, float] = field(default_factory=dict, hash=False)
    class_accuracies: tuple[float | None, ...] = ()
    architecture_json: str | None = field(default=None, repr=False)
    ended: datetime | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether the trial is one of the study's baselines."""
        return self.baseline is not None

    def figure(self, name: str) -> float | None:
        """The final value of an objective, or a figure of the trial by that name; None if it has none."""
        found = self.objectives.get(name)
        return found if found is not None or name not in FIGURES else getattr(self, name)

    @property
    def by_epoch(self) -> dict[int, float]:
        """The curve by epoch, in their order."""
        return dict(zip(self.steps or range(1, len(self.curve) + 1), self.curve, strict=True))

    # Parsed when first asked for: most queries look at few architectures, and ten thousand take seconds.
    @cached_property
    def architecture(self) -> Architecture | None:
        """The architecture; None if the study holds none, or none that this version understands."""
        data = self._architecture_data()
        try:
            return Architecture.from_dict(data) if data else None
        except InputError:
            return None

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON, the architecture as it was recorded; NaN and infinities become None."""
        return {
            "number": self.number,
            "state": self.state,
            "architecture": self._architecture_data(),
            "architecture_id": self.architecture_id,
            "accuracy": finite(self.accuracy),
            "flops": self.flops,
            "params": self.params,
            "objectives": {name: finite(value) for name, value in self.objectives.items()},
            "metrics": {k: finite(v) if isinstance(v, float) else v for k, v in self.metrics.items()},
            "class_accuracies": list(self.class_accuracies),
            "parameters": {k: finite(v) if isinstance(v, float) else v for k, v in self.parameters.items()},
            "epochs": self.epochs,
            "duration_s": self.duration_s,
            "started": self.started.isoformat() if self.started else None,
            "is_pareto": self.is_pareto,
            "is_baseline": self.is_baseline,
            "baseline": self.baseline,
            "curve": [finite(accuracy) for accuracy in self.curve],
            "fail_reason": self.fail_reason,
        }

    def _architecture_data(self) -> dict[str, Any] | None:
        data = json.loads(self.architecture_json) if self.architecture_json else None
        return data if isinstance(data, dict) and "backbone" in data else None


def finite(value: float | None) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if value is not None and math.isfinite(value) else None
