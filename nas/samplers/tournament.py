"""Who of a few trials becomes a parent: constrained domination (Deb et al., "A fast and elitist multiobjective genetic
algorithm: NSGA-II", 2002, doi 10.1109/4235.996017).

A trial that violates nothing comes before any that does, of two that violate something the one whose violations sum
up to less, and of others the one that dominates.
"""

import random
from collections.abc import Sequence

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from results.front import front


def winner(contenders: Sequence[FrozenTrial], directions: Sequence[StudyDirection], rng: random.Random) -> FrozenTrial:
    """One of the contenders that none of them beats, drawn uniformly."""
    least = min(violation(trial) for trial in contenders)
    ahead = [trial for trial in contenders if violation(trial) == least]
    return ahead[rng.choice(front([_losses(trial, directions) for trial in ahead]))]


def violation(trial: FrozenTrial) -> float:
    """The sum of what a trial violates; 0 if nothing."""
    return sum(value for value in trial.constraints.values() if value > 0)


def _losses(trial: FrozenTrial, directions: Sequence[StudyDirection]) -> list[float]:
    return [
        -value if direction == StudyDirection.MAXIMIZE else value
        for value, direction in zip(trial.values, directions, strict=True)
    ]
