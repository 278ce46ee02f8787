"""From a recipe to a torch optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn, optim

from trainers.recipe import Recipe

Groups = list[dict[str, Any]]

# One kernel for the whole update: on a CPU faster than torch's default loop, and as deterministic.
_FUSED_ON = ("cpu", "cuda")


def _sgd(groups: Groups, recipe: Recipe, fused: bool) -> optim.Optimizer:
    return optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused)


def _adamw(groups: Groups, recipe: Recipe, fused: bool) -> optim.Optimizer:
    return optim.AdamW(groups, lr=recipe.lr, fused=fused)


def _adadelta(groups: Groups, recipe: Recipe, fused: bool) -> optim.Optimizer:
    """Never fused: torch has no such kernel."""
    return optim.Adadelta(groups, lr=recipe.lr)


OPTIMIZERS: dict[str, Callable[[Groups, Recipe, bool], optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "adadelta": _adadelta,
}


def build(model: nn.Module, recipe: Recipe) -> optim.Optimizer:
    """The recipe's optimizer over all parameters of a model, which has to be on its device already.

    Without ``decay_norm_and_bias`` there are two groups: first what weight decay goes for, in the model's order, and
    then what has one dimension or none.
    """
    parameters = list(model.parameters())
    if recipe.decay_norm_and_bias:
        groups = [_group(parameters, recipe.weight_decay)]
    else:
        groups = [
            _group([parameter for parameter in parameters if parameter.ndim > 1], recipe.weight_decay),
            _group([parameter for parameter in parameters if parameter.ndim <= 1], 0.0),
        ]
    fused = all(parameter.device.type in _FUSED_ON for parameter in parameters)
    return OPTIMIZERS[recipe.optimizer](groups, recipe, fused)


def _group(parameters: Sequence[nn.Parameter], weight_decay: float) -> dict[str, Any]:
    return {"params": parameters, "weight_decay": weight_decay}
