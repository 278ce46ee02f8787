"""He initialisation (https://arxiv.org/abs/1502.01852) of a network's modules, for ``nn.Module.apply``."""

from torch import nn


def he_by_outputs(module: nn.Module) -> None:
    """Convolutions by the size of what they give, as residual networks do; classifiers without a bias to begin with."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def he_by_inputs(module: nn.Module) -> None:
    """Convolutions by the size of what they take, for those in groups.

    torch's fan_out counts the filters of all groups, though a channel meets only those of its own.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
