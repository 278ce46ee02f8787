"""What a block costs, found by running it on the meta device: for blocks that give no closed form."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from search_space.architecture import Shape
from search_space.errors import InputError, first_line
from search_space.live_memory import LiveBytes
from search_space.variants.family import Price

_aten = torch.ops.aten
_REDUCTIONS = {_aten.mean, _aten.sum, _aten.amax, _aten.amin, _aten.max, _aten.var, _aten.adaptive_avg_pool2d}
_REDUCTIONS |= {_aten._adaptive_avg_pool2d, _aten.adaptive_max_pool2d}
_ELEMENTWISE = {_aten.mul, _aten.mul_, _aten.add, _aten.add_, _aten.sub, _aten.sub_, _aten.div, _aten.div_}
_ELEMENTWISE |= {_aten.pow, _aten.square, _aten.lerp, _aten.addcmul, _aten.rsub}


class ElementwiseFlops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts one for each element that is reduced, and for each that a sum, product or power gives.

    Non-linearities are not counted, nor are convolutions and matrix products, which FlopCounterMode counts.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and counts it."""
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in _REDUCTIONS:
            self.total += args[0].numel()
        elif packet in _ELEMENTWISE:
            self.total += result.numel()
        return result


def measure(make: Callable[[int], nn.Module], shape: Shape) -> Price:
    """The price of the block that ``make(channels)`` gives, on a map of (channels, height, width).

    Raises:
        InputError: it cannot be made or run on such a map, or does not keep the map's shape.
    """
    x = torch.empty(1, *shape, device="meta")
    untouched = x._version
    size = "x".join(map(str, shape))
    try:
        with torch.device("meta"):
            block = make(shape[0]).eval()
        # The counter of products takes some operations apart, so it comes after those that measure them whole.
        counting_products = FlopCounterMode(display=False)
        with torch.no_grad(), counting_products as products, LiveBytes() as live, ElementwiseFlops() as elementwise:
            result = block(x)
            peak = live.peak
    except Exception as error:
        raise InputError(f"it fails on a map of {size}: {first_line(error)}") from error
    if x._version != untouched:
        raise InputError("it changes its input in place, which the rest of a network may need as it was")
    given = tuple(result.shape[1:]) if isinstance(result, torch.Tensor) else type(result).__name__
    if given != shape:
        raise InputError(f"it makes {given} of a map of {size}, where the shape must stay")
    return Price(
        flops=int(products.get_total_flops()) // 2 + elementwise.total,
        params=sum(prod(p.shape) for p in block.parameters()),
        memory=peak,
    )
