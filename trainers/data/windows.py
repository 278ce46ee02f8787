"""Which part of an image is seen: a window, as fractions of the image; nothing here imports torch.

Fractions say the same of an image in memory and of one in a file that is decoded at half its size. The first are cut
out in batches (:mod:`trainers.data.resampling`), the second as they are decoded (:mod:`trainers.data.image_files`).
"""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""(height, width)"""

Window = NDArray[np.float64]
"""(top, left, height, width) [..., 4]: top and height in heights of the image, left and width in widths."""

_ASPECT_RATIOS = (3 / 4, 4 / 3)
_ATTEMPTS = 10


class Windows(Protocol):
    """The windows of a batch of images, which follow once their sizes are known."""

    def __getitem__(self, images: int | slice) -> Self:
        """Those of one image or some images of the batch."""

    def within(self, height: int, width: int) -> Window:
        """The windows in images of a height and a width, in pixels."""


@dataclass(frozen=True)
class CentralWindow:
    """The centre of an image that is scaled until it just covers a frame: what evaluation sees.

    With a size of 224 x 224 and a frame of 256 x 256 this is "resize 256, centre crop 224". With both of the image's
    own size it is the whole image.
    """

    size: Size
    frame: Size

    def __getitem__(self, images: int | slice) -> "CentralWindow":
        """The same for every image."""
        return self

    def within(self, height: int, width: int) -> Window:
        """The one window [4] of all images of a height and a width, in pixels."""
        pixels = np.array([height, width])
        scale = (pixels / self.frame).min()
        extent = np.minimum(scale * np.array(self.size), pixels)
        begin = (pixels - extent) / 2
        if scale == 1:
            begin = np.floor(begin)  # pixels that keep their size are not to be mixed for half a pixel's shift
        return np.concatenate([begin / pixels, extent / pixels])


@dataclass(frozen=True, eq=False)
class RandomWindows:
    """A random window of each image, as in "Going deeper with convolutions" (arXiv 1409.4842).

    Its share of the image's area is uniform in ``scale``, its aspect ratio log-uniform from 3/4 to 4/3 and its place
    uniform. Of ten attempts the first that fits counts. If none does, it is the largest central window of an aspect
    ratio in that range, as torchvision's RandomResizedCrop has it.

    Args:
        numbers: uniform in 0 to 1 [B, :data:`NUMBERS`], all the randomness there is.
        scale: the least and the greatest share of the area.
    """

    numbers: NDArray[np.float64]
    scale: tuple[float, float]

    def __getitem__(self, images: int | slice) -> "RandomWindows":
        """The windows of one image or some images of the batch."""
        return RandomWindows(self.numbers[images], self.scale)

    def within(self, height: int, width: int) -> Window:
        """The windows [B, 4], or [4] for one image, in images of a height and a width, in pixels."""
        areas, ratios, places = np.split(self.numbers, [_ATTEMPTS, 2 * _ATTEMPTS], axis=-1)
        shares = self.scale[0] + (self.scale[1] - self.scale[0]) * areas
        low, high = np.log(_ASPECT_RATIOS)
        slants = np.exp(low + (high - low) * ratios) * (height / width)  # the ratio of the two fractions
        extents = np.sqrt(np.stack([shares / slants, shares * slants], axis=-1))
        fits = (extents <= 1).all(axis=-1)
        first = np.take_along_axis(extents, fits.argmax(axis=-1)[..., None, None], axis=-2)[..., 0, :]
        found = fits.any(axis=-1)[..., None]
        extent = np.where(found, first, _largest(height, width))
        begin = (1 - extent) * np.where(found, places, 0.5)
        return np.concatenate([begin, extent], axis=-1)


NUMBERS = 2 * _ATTEMPTS + 2
"""How many random numbers a random window takes."""


def _largest(height: int, width: int) -> Window:
    """The height and width [2] of the largest window of an allowed aspect ratio."""
    ratio = np.clip(width / height, *_ASPECT_RATIOS)
    return np.array([min(1.0, width / ratio / height), min(1.0, height * ratio / width)])
