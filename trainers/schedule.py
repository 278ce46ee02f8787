"""The learning rate as a pure function of the step; nothing here imports torch.

A schedule spans the whole budget of epochs, whether or not the run is stopped early, so that a run at epoch 3 of 20
is at the same learning rate in every trial.
"""

import math
from collections.abc import Callable

from search_space.errors import InputError
from trainers.recipe import Recipe

Schedule = Callable[[Recipe, float, int], float]
"""From (recipe, epochs since the warm-up, epochs after the warm-up) to a factor on the base learning rate."""


def _constant(recipe: Recipe, elapsed: float, epochs: int) -> float:
    return 1.0


def _cosine(recipe: Recipe, elapsed: float, epochs: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * elapsed / epochs))


def _step(recipe: Recipe, elapsed: float, epochs: int) -> float:
    return float(recipe.decay ** (int(elapsed) // recipe.step_epochs))


SCHEDULES: dict[str, Schedule] = {"constant": _constant, "cosine": _cosine, "step": _step}


def check_length(recipe: Recipe, epochs: int) -> None:
    """Checks that a recipe fits a number of epochs.

    Raises:
        InputError: there is no epoch, or the warm-up takes all of them.
    """
    if epochs < 1:
        raise InputError(f"epochs must be at least 1, not {epochs}")
    if recipe.warmup_epochs >= epochs:
        raise InputError(f"warmup_epochs must be below the {epochs} epochs of training, not {recipe.warmup_epochs}")


def learning_rate(recipe: Recipe, epochs: int, step: int, steps_per_epoch: int) -> float:
    """The learning rate of an optimizer step, counted from 0 over all epochs.

    During the warm-up it rises linearly, reaching the base rate at the warm-up's last step. The schedule then begins
    and runs over the epochs that are left; cosine would reach 0 at the step after the last.
    """
    warmup_steps = recipe.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return recipe.lr * (step + 1) / warmup_steps
    elapsed = (step - warmup_steps) / steps_per_epoch
    return recipe.lr * SCHEDULES[recipe.schedule](recipe, elapsed, epochs - recipe.warmup_epochs)
