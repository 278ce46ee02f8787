"""The learning rate as a pure function of the step; nothing here imports torch.

A schedule spans the whole budget of epochs, whether or not the run is stopped early, so that a run at epoch 3 of 20
is at the same learning rate in every trial. ``plateau`` alone looks at how training went, and there at the training
loss: the held-out images are the test set in a final evaluation, which must not steer the training that it judges.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search_space.errors import InputError
from trainers.recipe import Recipe

# Those of torch's OneCycleLR and ReduceLROnPlateau.
_FIRST_OF_ONE_CYCLE = 1 / 25
_LAST_OF_ONE_CYCLE = _FIRST_OF_ONE_CYCLE / 1e4
_LEAST_IMPROVEMENT = 1e-4


@dataclass(frozen=True)
class Moment:
    """A step of training, as a schedule sees it: the warm-up is over, and step 0 is the first one after it.

    ``losses`` are the training losses of the epochs done since.
    """

    step: int
    steps: int
    steps_per_epoch: int
    losses: Sequence[float]

    @property
    def epochs_done(self) -> int:
        """Whole epochs before this step."""
        return self.step // self.steps_per_epoch


Schedule = Callable[[Recipe, Moment], float]
"""To a factor on the base learning rate."""


def _constant(recipe: Recipe, now: Moment) -> float:
    return 1.0


def _cosine(recipe: Recipe, now: Moment) -> float:
    return _annealed(1.0, 0.0, now.step / now.steps)


def _step(recipe: Recipe, now: Moment) -> float:
    if recipe.milestones:
        decays = sum(milestone <= recipe.warmup_epochs + now.epochs_done for milestone in recipe.milestones)
    else:
        decays = now.epochs_done // recipe.step_epochs
    return float(recipe.decay**decays)


def _one_cycle(recipe: Recipe, now: Moment) -> float:
    """As in arXiv 1708.07120, with cosines for its straight lines, as torch has it."""
    last = max(1, now.steps - 1)
    peak = max(0.0, recipe.rise * now.steps - 1)
    if now.step < peak:
        return _annealed(_FIRST_OF_ONE_CYCLE, 1.0, now.step / peak)
    return _annealed(1.0, _LAST_OF_ONE_CYCLE, (now.step - peak) / (last - peak))


def _plateau(recipe: Recipe, now: Moment) -> float:
    best, waited, decays = math.inf, 0, 0
    for loss in now.losses:
        improved = loss < best * (1 - _LEAST_IMPROVEMENT)
        best, waited = (loss, 0) if improved else (best, waited + 1)
        if waited > recipe.patience:
            waited, decays = 0, decays + 1
    return float(recipe.decay**decays)


def _annealed(first: float, last: float, progress: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Schedule] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "one_cycle": _one_cycle,
    "plateau": _plateau,
}


def check_length(recipe: Recipe, epochs: int) -> None:
    """Checks that a recipe fits a number of epochs.

    Raises:
        InputError: there is no epoch, or the warm-up takes all of them, or a milestone is never reached.
    """
    if epochs < 1:
        raise InputError(f"epochs must be at least 1, not {epochs}")
    if recipe.warmup_epochs >= epochs:
        raise InputError(f"warmup_epochs must be below the {epochs} epochs of training, not {recipe.warmup_epochs}")
    if recipe.milestones and recipe.milestones[-1] >= epochs:
        raise InputError(f"milestones must be below the {epochs} epochs of training, not {recipe.milestones[-1]}")


def learning_rate(recipe: Recipe, epochs: int, step: int, steps_per_epoch: int, losses: Sequence[float] = ()) -> float:
    """The learning rate of an optimizer step, counted from 0 over all epochs.

    During the warm-up it rises linearly, reaching the base rate at the warm-up's last step. The schedule then begins
    and runs over the epochs that are left; cosine would reach 0 at the step after the last.

    Args:
        recipe: names the schedule.
        epochs: the full budget.
        step: at least 0 and below ``epochs * steps_per_epoch``.
        steps_per_epoch: at least 1.
        losses: the mean training loss of each epoch done before the step, for ``plateau``; later ones are not looked
            at. Those of the warm-up do not count.
    """
    warmup_steps = recipe.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return recipe.lr * (step + 1) / warmup_steps
    now = Moment(
        step - warmup_steps,
        epochs * steps_per_epoch - warmup_steps,
        steps_per_epoch,
        losses[recipe.warmup_epochs : step // steps_per_epoch],
    )
    return recipe.lr * SCHEDULES[recipe.schedule](recipe, now)
