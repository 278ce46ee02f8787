"""Efficient Channel Attention (ECA-Net, https://arxiv.org/abs/1910.03151): each gate from the k nearest channels.

One convolution of k weights runs along the channels; k grows with their number C: the odd number next to
``log2(C) / 2 + 1 / 2``.
"""

from collections.abc import Mapping
from math import log2
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from search_space.architecture import Setting, Shape
from search_space.variants.family import FLOAT_BYTES, Family, Options, Price, Variant
from search_space.variants.gate import Gate


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise PydanticCustomError("even", "must be odd")
    return kernel


class ECA(Gate):
    """``x * sigmoid(conv1d_k(avg(x)))``, the convolution running along the channels."""

    def __init__(self, channels: int, *, kernel: Annotated[int, Field(gt=0), AfterValidator(_odd)]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def gate(self, x: Tensor) -> Tensor:
        """The gates of [N, C, H, W], as [N, C, 1, 1]."""
        z = self.conv(x.mean((2, 3))[:, None])
        return torch.sigmoid(z)[:, 0, :, None, None]


def kernel_for(channels: int) -> int:
    """The paper's adaptive kernel size, gamma 2 and b 1.

    >>> [kernel_for(channels) for channels in (16, 64, 256, 512, 2048)]
    [3, 3, 5, 5, 7]
    """
    size = int(abs(log2(channels) / 2 + 1 / 2))
    return size if size % 2 else size + 1


def price(shape: Shape, *, kernel: int) -> Price:
    """The block's cost on a map of (channels, height, width)."""
    channels, height, width = shape
    elements = channels * height * width
    return Price(
        flops=kernel * channels + 2 * elements,
        params=kernel,
        memory=FLOAT_BYTES * (channels + max(channels, elements)),
    )


def _settings(channels: int, _options: Options) -> Mapping[str, Setting]:
    return {"kernel": kernel_for(channels)}


FAMILY = Family(
    module=ECA,
    paper="https://arxiv.org/abs/1910.03151",
    price=price,
    variants={"eca": Variant("convolution along the channels, k weights", _settings)},
)
