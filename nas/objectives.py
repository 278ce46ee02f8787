"""What a search optimises: any list of objectives, each maximised or minimised. Nothing here imports torch.

An objective is *measured* after every epoch on the validation images (accuracy, macro F1, a function of one's own),
*priced* from the architecture before training (FLOPs, parameters, memory, a function of one's own), or *timed* once,
as a trial starts (latency).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["maximize", "minimize"]
Source = Literal["measured", "priced", "timed"]
Entry = Mapping[str, float]
"""What was measured after one epoch, by name."""


@dataclass(frozen=True)
class Objective:
    """One objective.

    Attributes:
        function: import path of the user's own function, ``package.module:name``; None for those that come along.
            A measured one maps (logits [N, classes], labels [N]) of the validation images to a number, a priced one
            maps an :class:`Architecture`.
    """

    name: str
    direction: Direction
    source: Source
    function: str | None = None

    def loss(self, value: float) -> float:
        """The value as something to minimise; what is not a number is the worst there is."""
        if math.isnan(value):
            return math.inf
        return -value if self.direction == "maximize" else value


KNOWN: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("accuracy", "maximize", "measured"),
        Objective("top5", "maximize", "measured"),
        Objective("loss", "minimize", "measured"),
        Objective("balanced_accuracy", "maximize", "measured"),
        Objective("macro_f1", "maximize", "measured"),
        Objective("flops", "minimize", "priced"),
        Objective("params", "minimize", "priced"),
        Objective("memory", "minimize", "priced"),
        Objective("latency", "minimize", "timed"),
    )
}

REPLACEABLE = ("balanced_accuracy", "macro_f1")
"""Known objectives whose name a function of the user's own may take; studies may have one from before they were known.
"""


def values_at(objectives: Sequence[Objective], entry: Entry, costs: Mapping[str, float]) -> tuple[float, ...]:
    """The objectives' values after an epoch: measured ones from its entry, the others from the trial's costs."""
    return tuple(
        entry[objective.name] if objective.source == "measured" else costs[objective.name] for objective in objectives
    )


def losses_of(
    objectives: Sequence[Objective], history: Sequence[Entry], costs: Mapping[str, float]
) -> list[tuple[float, ...]]:
    """What is minimised, after each epoch."""
    return [
        tuple(o.loss(value) for o, value in zip(objectives, values_at(objectives, entry, costs), strict=True))
        for entry in history
    ]
