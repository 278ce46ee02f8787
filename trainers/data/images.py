"""Images in memory, as bytes."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

_LEVELS = 256


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images [N, C, H, W] of uint8 from 0 to 255, and their labels [N] of int64 from 0 to ``num_classes`` - 1."""

    images: Tensor
    labels: Tensor
    num_classes: int

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 [N, C, H, W], not {self.images.dtype} {self.images.shape}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be int64 [N], not {self.labels.dtype} {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        """As arrays, whose bytes Ray's object store keeps once a node and all processes there share."""
        return {"images": self.images.cpu().numpy(), "labels": self.labels.cpu().numpy(), "classes": self.num_classes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to it
            images, labels = torch.from_numpy(state["images"]), torch.from_numpy(state["labels"])
        for name, value in (("images", images), ("labels", labels), ("num_classes", state["classes"])):
            object.__setattr__(self, name, value)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same images on a device; nothing is copied if they are there."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation, in the pixels' own units, 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(image_set: ImageSet) -> Normalization:
    """The mean and standard deviation of every channel over all images and pixels.

    They come from counts of the 256 grey levels: exact, so the same on every device and with any number of threads.
    A channel that hardly varies gets a deviation of one grey level, so that it can be divided by.
    """
    levels = torch.arange(_LEVELS, dtype=torch.float64)
    means, deviations = [], []
    for channel in image_set.images.unbind(dim=1):
        counts = torch.bincount(channel.flatten(), minlength=_LEVELS).cpu().double()
        mean = (counts @ levels) / counts.sum()
        variance = (counts @ (levels - mean).square()) / counts.sum()
        means.append(mean.item())
        deviations.append(max(1.0, variance.sqrt().item()))
    return Normalization(tuple(means), tuple(deviations))
