"""From a recipe to a torch optimizer."""

from collections.abc import Callable, Iterable

from torch import nn, optim

from trainers.recipe import Recipe

Parameters = Iterable[nn.Parameter]


def _sgd(parameters: Parameters, recipe: Recipe) -> optim.Optimizer:
    return optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def _adamw(parameters: Parameters, recipe: Recipe) -> optim.Optimizer:
    return optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)


def _adadelta(parameters: Parameters, recipe: Recipe) -> optim.Optimizer:
    return optim.Adadelta(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)


OPTIMIZERS: dict[str, Callable[[Parameters, Recipe], optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "adadelta": _adadelta,
}


def build(parameters: Parameters, recipe: Recipe) -> optim.Optimizer:
    """The recipe's optimizer over the parameters, in one group."""
    return OPTIMIZERS[recipe.optimizer](parameters, recipe)
