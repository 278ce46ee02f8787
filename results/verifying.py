"""Whether the files of an export give what the network gives, before anybody relies on them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from results.programs import Run
from search_space.architecture import Architecture
from search_space.errors import InputError

BATCH_SIZES = (1, 2, 5)
ABSOLUTE = 1e-4
RELATIVE = 1e-4
"""A logit may differ by ``ABSOLUTE + RELATIVE * |logit|`` where another program computes it, in 32-bit floats.

Folding a norm into its convolution and summing in another order cost a few units in the last place at every layer:
docs/export.md has what was seen.
"""


class VerificationError(RuntimeError):
    """A file does not give what the network gives."""


class Reference:
    """What a network gives for images of noise, in batches of several sizes.

    Raises:
        InputError: that is no finite number.
    """

    def __init__(self, network: nn.Module, architecture: Architecture) -> None:
        self._batches = [(images, _run(network, images)) for images in _batches(architecture.backbone.input_size)]
        if not all(logits.isfinite().all() for _, logits in self._batches):
            raise InputError("the network gives logits that are no finite numbers, so its weights are of no use")

    def largest_difference(self, name: str, run: Run, *, exact: bool) -> float:
        """The most that a file's logits differ by.

        Args:
            name: of the file.
            exact: whether they must be equal bit for bit.

        Raises:
            VerificationError: they differ by more than they may; the message names the file and the batch.
        """
        return max(_difference(name, _run(run, images), logits, exact) for images, logits in self._batches)


def _batches(size: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, *size, generator=generator) for count in BATCH_SIZES]


def _run(run: Run, images: Tensor) -> Tensor:
    with torch.no_grad():
        return run(images)


def _difference(name: str, given: Tensor, expected: Tensor, exact: bool) -> float:
    of = f"{name} on a batch of {len(expected)}"
    if given.shape != expected.shape or given.dtype != expected.dtype:
        raise VerificationError(
            f"{of} gives {given.dtype} of shape {tuple(given.shape)}, not {expected.dtype} of {tuple(expected.shape)}"
        )
    difference = (given - expected).abs().max().item()
    if exact and not torch.equal(given, expected):
        raise VerificationError(f"{of} gives other logits than PyTorch, by up to {difference:.3g}: they must be equal")
    if not torch.allclose(given, expected, rtol=RELATIVE, atol=ABSOLUTE):
        raise VerificationError(
            f"{of} gives other logits than PyTorch, by up to {difference:.3g}: "
            f"{ABSOLUTE:g} + {RELATIVE:g} of the logit is what they may differ by"
        )
    return difference
