"""What the SE blocks of a trained network do: their gates, class by class (arXiv 1709.01507, section 7.2).

One pass over the images sums up every gate, so that nothing grows with their number.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search_space.architecture import SE, Architecture
from search_space.building import FromIdentity, se_module
from search_space.errors import InputError
from search_space.variants.gate import Gate

Array = NDArray[np.float64]

NEAR = 0.05
"""A gate within so much of an end of its range is saturated."""

_ENDS: Mapping[str, tuple[float, ...]] = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0,)}
# Equal numbers of 32 bits may differ by rounding once summed up.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class BlockExcitation:
    """The gates of one SE block over a data set: K classes, C channels.

    Attributes:
        site: the insertion site.
        images: [K] how many of each class there were.
        mean: [K, C] mean gate of each class; NaN for a class without images.
        sd: [K, C] standard deviation within each class; NaN with fewer than two images.
        overall_mean: [C] over all images.
        overall_sd: [C] over all images.
        specificity: [C] the share of a channel's variance that lies between the classes (eta squared), 0 to 1; 0 for
            a channel that never changes. Where classes mean nothing it is about (K - 1) / (images - 1).
        saturation: the share of all gates that are within 0.05 of an end of their range: 0 or 1 for a sigmoid, -1 or 1
            for tanh, 0 for ReLU.
        per_pixel: whether the block has a gate for each pixel, of which the means over the map are taken.
    """

    site: str
    position: str
    variant: str
    images: NDArray[np.int64] = field(repr=False)
    mean: Array = field(repr=False)
    sd: Array = field(repr=False)
    overall_mean: Array = field(repr=False)
    overall_sd: Array = field(repr=False)
    specificity: Array = field(repr=False)
    saturation: float
    per_pixel: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON: the block's scores, each a mean over its channels."""
        return {
            "site": self.site,
            "position": self.position,
            "variant": self.variant,
            "channels": len(self.overall_mean),
            "images": int(self.images.sum()),
            "mean": float(self.overall_mean.mean()),
            "sd": float(self.overall_sd.mean()),
            "saturation": self.saturation,
            "specificity": float(self.specificity.mean()),
            "per_pixel": self.per_pixel,
        }


@dataclass(frozen=True)
class Excitation:
    """The blocks of a network, in its order, and sentences on what they leave unsaid."""

    blocks: tuple[BlockExcitation, ...]
    notes: tuple[str, ...] = ()


def excitation(model: nn.Module, architecture: Architecture, batches: Iterable[tuple[Tensor, Tensor]]) -> Excitation:
    """Looks at every gate while the network sees the images.

    Args:
        model: the trained network of the architecture, as :func:`results.load` gives it. It runs in eval mode and is
            left in the mode it was in.
        architecture: its own.
        batches: images [B, C, H, W], normalised, and labels [B] from 0 to the number of classes - 1, on the model's
            device.

    Raises:
        InputError: there is no block with a gate, there are no images, a label is none of the classes, or a gate is
            not a number.
    """
    gates, notes = _gates(model, architecture)
    if not gates:
        raise InputError(f"no gate can be studied: {' '.join(notes) or 'the architecture has no SE block'}")
    classes = architecture.backbone.num_classes
    watched = {site: _Watched(se, classes) for site, se in architecture.sites if site in gates}
    with _in_eval_mode(model), torch.inference_mode(), _gates_seen(gates) as seen:
        for images, labels in batches:
            _check_labels(labels, classes)
            model(images)
            for site, block in watched.items():
                block.add(site, seen[site], labels)
    if not sum(block.sums.count.sum() for block in watched.values()):
        raise InputError("there are no images to study the gates by")
    blocks = tuple(block.result(site) for site, block in watched.items())
    pixelwise = [block.site for block in blocks if block.per_pixel]
    if pixelwise:
        notes.append(f"{', '.join(pixelwise)}: a gate for each pixel, of which the means over the map are shown.")
    return Excitation(blocks, tuple(notes))


class ClassSums:
    """Count, mean and sum of squared deviations of rows, class by class, in one pass.

    Parts are put together by the update of Chan, Golub & LeVeque (1979), which loses no digits where the mean is large
    beside the spread.

    Args:
        classes: how many there are.
        channels: the length of a row.
    """

    def __init__(self, classes: int, channels: int) -> None:
        self.count = np.zeros(classes, np.int64)
        self.mean = np.zeros((classes, channels))
        self.squares = np.zeros((classes, channels))

    def add(self, values: Array, labels: NDArray[np.int64]) -> None:
        """Takes in rows [B, channels] of classes [B]."""
        for label in np.unique(labels):
            rows = values[labels == label]
            mean = rows.mean(axis=0)
            step, before = mean - self.mean[label], self.count[label]
            after = before + len(rows)
            self.mean[label] += step * (len(rows) / after)
            self.squares[label] += ((rows - mean) ** 2).sum(axis=0) + step**2 * (before * len(rows) / after)
            self.count[label] = after

    def overall(self) -> tuple[Array, Array, Array]:
        """Over all rows [channels]: the mean, and the sums of squared deviations in all and between the classes."""
        share = self.count[:, None] / self.count.sum()
        mean = (share * self.mean).sum(axis=0)
        between = (self.count[:, None] * (self.mean - mean) ** 2).sum(axis=0)
        return mean, self.squares.sum(axis=0) + between, between


class _Watched:
    """A block, and what has been seen of its gate."""

    def __init__(self, se: SE, classes: int) -> None:
        self._se = se
        self._classes = classes
        self._ends = _ENDS[str(dict(se.settings).get("excitation", "sigmoid"))]
        self._near_an_end = 0.0
        self._per_pixel = False
        self.sums = ClassSums(classes, 0)

    def add(self, site: str, gate: Tensor, labels: Tensor) -> None:
        """Takes in gates [B, C, h, w], each of one pixel or of all."""
        if not gate.isfinite().all():
            raise InputError(f"the gates at site {site} are not all numbers: the network or its images are damaged")
        if not self.sums.count.any():
            self.sums = ClassSums(self._classes, gate.shape[1])
            self._per_pixel = gate.shape[2:].numel() > 1
        near = torch.stack([(gate - end).abs() < NEAR for end in self._ends]).any(dim=0)
        self._near_an_end += near.double().mean((1, 2, 3)).sum().item()
        self.sums.add(gate.double().mean((2, 3)).cpu().numpy(), labels.cpu().numpy())

    def result(self, site: str) -> BlockExcitation:
        """What the gates come to."""
        count = self.sums.count
        images = int(count.sum())
        mean, squares, between = self.sums.overall()
        constant = squares / images < _ROUNDING
        with np.errstate(invalid="ignore", divide="ignore"):
            within = np.sqrt(self.sums.squares / np.where(count > 1, count - 1, np.nan)[:, None])
            specificity = np.where(constant, 0.0, between / squares)
        return BlockExcitation(
            site=site,
            position=self._se.position,
            variant=self._se.variant,
            images=count,
            mean=np.where(count[:, None] > 0, self.sums.mean, np.nan),
            sd=within,
            overall_mean=mean,
            overall_sd=np.sqrt(squares / max(1, images - 1)),
            specificity=specificity,
            saturation=self._near_an_end / images,
            per_pixel=self._per_pixel,
        )


def _gates(model: nn.Module, architecture: Architecture) -> tuple[dict[str, Gate], list[str]]:
    """The gates by site, and sentences on blocks that have none of ours or do more than scale by it."""
    gates: dict[str, Gate] = {}
    notes = []
    for site, se in architecture.sites:
        block = model.get_submodule(se_module(site))
        if isinstance(block, FromIdentity):
            notes.append(f"{site}: the block scales by 1 + a (gate - 1) with a = {block.a.item():.3g}.")
            block = block.block
        if isinstance(block, Gate):
            gates[site] = block
        else:
            notes.append(f"{site}: {se.kind} is a module of one's own, whose gate is not known (it is no Gate).")
    return gates, notes


@contextmanager
def _gates_seen(gates: Mapping[str, Gate]) -> Iterator[Mapping[str, Tensor]]:
    """The gates of the last forward pass, by site."""
    seen: dict[str, Tensor] = {}

    def look(site: str, block: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        seen[site] = gates[site].gate(inputs[0])

    with ExitStack() as stack:
        for site, gate in gates.items():
            stack.callback(gate.register_forward_hook(partial(look, site)).remove)
        yield seen


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _check_labels(labels: Tensor, classes: int) -> None:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"a label is none of the network's classes, 0 to {classes - 1}: give the data it was made for")
