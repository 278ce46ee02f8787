"""Convolutions that are found by running, wherever in a module they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Convolved(NamedTuple):
    """What the convolutions of two dimensions in a call came to.

    Attributes:
        work: their multiply-adds.
        kernel: the longest side of a kernel.
    """

    work: int = 0
    kernel: int = 0


class ConvolutionWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the convolutions that run.

    Attributes:
        seen: what they came to since the start or since it was last set.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = Convolved()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and takes in its work if it is a convolution."""
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default and result.dim() == 4 and not args[6]:
            weight = args[1]
            work = weight[0].numel() * result.numel()
            self.seen = Convolved(self.seen.work + work, max(self.seen.kernel, *weight.shape[2:]))
        return result
