"""Averaging the weights of a network over its training steps."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a model's weights, in a copy of the model.

    After the update of step t, counted from 1, the average is ``d * average + (1 - d) * weights`` with
    ``d = min(decay, (1 + t) / (10 + t))``. It begins with the model's weights as they are now, and as the decay rises,
    even a short run soon forgets them. All that is remembered is in ``model``, so that an average whose weights were
    saved and loaded goes on as one that was never interrupted.

    Floating-point buffers, which running statistics are, are averaged in the same way: so they describe the networks
    that the average is made of, if with a lag in the first epoch or two; the newest network's own get worse and worse
    for an average that is far from it. Integers are copied. (torch's AveragedModel has a fixed decay, and where it
    averages buffers it truncates the integers among them.)

    Args:
        model: on its device already, in the memory format that it is trained in.
        decay: the highest d, above 0 and below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Takes in the weights of the model after an optimizer step.

        Args:
            source: the model that is trained.
            step: optimizer steps done, from 1.
        """
        pairs = list(zip(_tensors(self.model), _tensors(source), strict=True))
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(*_columns([pair for pair in pairs if pair[0].is_floating_point()]), 1 - decay)
        if counted := [pair for pair in pairs if not pair[0].is_floating_point()]:
            torch._foreach_copy_(*_columns(counted))


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [average for average, _ in pairs], [source for _, source in pairs]
