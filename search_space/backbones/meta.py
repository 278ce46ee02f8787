"""Making modules without memory for their weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class WeightsOnMeta(TorchFunctionMode):
    """Puts tensors that are about to be filled on the meta device, and leaves those that are computed with alone.

    ``torch.device("meta")`` would take both there, and networks that compute their widths (RegNet) would fail.
    """

    _FILLED = frozenset((torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in self._FILLED and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
