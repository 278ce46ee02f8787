"""Images as training asks for them, and those that are in memory, as bytes."""

import struct
import warnings
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from search_space.errors import InputError
from trainers.data.image_files import ImageFiles
from trainers.data.resampling import cut
from trainers.data.windows import CentralWindow, RandomWindows, Size
from trainers.moving import moved

_LEVELS = 256


@dataclass(frozen=True, eq=False)
class Selection:
    """Some of the images, by their indices, and what is seen of each: a random window, or else what evaluation sees."""

    indices: Tensor | slice
    windows: RandomWindows | None = None


class Images(Protocol):
    """Labelled images, wherever they are held."""

    @property
    def labels(self) -> Tensor:
        """[N] of int64 from 0 to ``num_classes`` - 1, on the device."""

    @property
    def num_classes(self) -> int:
        """How many classes there are."""

    @property
    def size(self) -> Size:
        """What comes in batches is so many pixels high and wide."""

    @property
    def files(self) -> ImageFiles | None:
        """The files that the images are from, in their order; None if they have no files of their own."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device | str) -> Self:
        """The same images, whose batches come on a device."""

    def batches(self, selections: Iterable[Selection]) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The images [B, C, H, W] (uint8) and labels [B] of each selection, on the device; both are not to be changed.

        Images that cannot be decoded and are to be left out are missing in both.
        """

    def left_out(self) -> list[str]:
        """The files that could not be read, and were left out of batches, so far."""

    def sample(self) -> Iterator[Tensor]:
        """Images [n, C, H, W] (uint8) that stand for all of them, in parts."""

    def identity(self) -> Iterator[bytes | memoryview]:
        """The bytes that tell these images from others."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images [N, C, H, W] of uint8 from 0 to 255, and their labels [N] of int64 from 0 to ``num_classes`` - 1.

    Evaluation sees the ``view`` of them, which is all of an image if not given. The ``files`` that they were decoded
    from are known where they were; processes that the images are sent to do without.

    Raises:
        InputError: there are no images, or labels that are none of the classes.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    view: CentralWindow | None = None
    files: ImageFiles | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 [N, C, H, W], not {self.images.dtype} {self.images.shape}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be int64 [N], not {self.labels.dtype} {self.labels.shape}")
        check_labels(self.labels, self.num_classes)

    @property
    def size(self) -> Size:
        """The height and width that evaluation sees."""
        height, width = self.images.shape[2:]
        return (height, width) if self.view is None else self.view.size

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        """As arrays, whose bytes Ray's object store keeps once a node and all processes there share."""
        arrays = {"images": self.images.cpu().numpy(), "labels": self.labels.cpu().numpy()}
        return arrays | {"num_classes": self.num_classes, "view": self.view, "files": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to it
            tensors = {name: torch.from_numpy(state[name]) for name in ("images", "labels")}
        for name, value in (state | tensors).items():
            object.__setattr__(self, name, value)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same images on a device; nothing is copied if they are there."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batches(self, selections: Iterable[Selection]) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The images [B, C, H, W] (uint8) and labels [B] of each selection; views of these where that is possible."""
        height, width = self.images.shape[2:]
        view = self.view or CentralWindow(self.size, self.size)
        for selection in selections:
            windows = selection.windows or view
            images = _take(self.images, selection.indices)
            yield cut(images, windows.within(height, width), view.size), _take(self.labels, selection.indices)

    def left_out(self) -> list[str]:
        """None: what cannot be read does not come into memory."""
        return []

    def sample(self) -> Iterator[Tensor]:
        """All images."""
        yield self.images

    def identity(self) -> Iterator[bytes | memoryview]:
        """All bytes and labels."""
        yield struct.pack("<5q", self.num_classes, *self.images.shape)
        for tensor in (self.images, self.labels):
            yield tensor.cpu().contiguous().numpy().data


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation, in the pixels' own units, 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(parts: Iterable[Tensor]) -> Normalization:
    """The mean and standard deviation of every channel over all images [n, C, H, W] (uint8) and pixels of the parts.

    They come from counts of the 256 grey levels: exact, so the same on every device and with any number of threads.
    A channel that hardly varies gets a deviation of one grey level, so that it can be divided by.

    Raises:
        InputError: there are no images.
    """
    counts = sum(_counts_of_levels(images) for images in parts)
    if not isinstance(counts, Tensor) or not counts.any():
        raise InputError("none of the images that normalisation is taken from can be read")
    levels = torch.arange(_LEVELS, dtype=torch.float64)
    means, deviations = [], []
    for channel in counts.double():
        mean = (channel @ levels) / channel.sum()
        variance = (channel @ (levels - mean).square()) / channel.sum()
        means.append(mean.item())
        deviations.append(max(1.0, variance.sqrt().item()))
    return Normalization(tuple(means), tuple(deviations))


def check_labels(labels: Tensor, num_classes: int, of: str = "the images") -> None:
    """Checks that there are labels [N], and that each is one of 0 to ``num_classes`` - 1.

    Raises:
        InputError: there are none, or others.
    """
    if not len(labels):
        raise InputError(f"there are no images in {of}")
    least, greatest = (int(bound) for bound in torch.aminmax(labels))
    if least < 0 or greatest >= num_classes:
        raise InputError(
            f"the labels of {of} go from {least} to {greatest}, not from 0 to {num_classes - 1}: the data is damaged"
        )


def _take(values: Tensor, indices: Tensor | slice) -> Tensor:
    if isinstance(indices, slice):
        return values[indices]
    return values.index_select(0, moved(indices, values.device))


def _counts_of_levels(images: Tensor) -> Tensor:
    """How often [C, 256] each grey level occurs in each channel."""
    return torch.stack([torch.bincount(c.flatten(), minlength=_LEVELS) for c in images.unbind(dim=1)]).cpu()
