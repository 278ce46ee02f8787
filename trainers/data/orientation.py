"""The orientation that a file says its image is to be shown in; nothing here imports torch."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from trainers.data.windows import Size, Window

_PNG_SIGNATURE = 8
_CRC = 4


@dataclass(frozen=True)
class Orientation:
    """How the stored pixels of an image become the shown ones: rows and columns are reversed, then swapped.

    Args:
        reverses_rows: whether the last stored row is shown first (before the swap).
        reverses_columns: whether the last stored column is shown first (before the swap).
        swaps: whether stored rows are shown as columns.
    """

    reverses_rows: bool = False
    reverses_columns: bool = False
    swaps: bool = False

    def swapped(self, size: Size) -> Size:
        """Return the shown size of a stored one, or the stored size of a shown one."""
        return (size[1], size[0]) if self.swaps else size

    def stored(self, window: Window) -> Window:
        """Return the window [4] of the stored image that shows as a window [4] of the shown image."""
        top, left, height, width = window
        if self.swaps:
            top, left, height, width = left, top, width, height
        if self.reverses_rows:
            top = 1 - top - height
        if self.reverses_columns:
            left = 1 - left - width
        return np.array([top, left, height, width])

    def shown(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return stored pixels [H, W, ...] as they are shown."""
        turned = pixels[:: -1 if self.reverses_rows else 1, :: -1 if self.reverses_columns else 1]
        return turned.swapaxes(0, 1) if self.swaps else turned


UPRIGHT = Orientation()

_BY_TAG = {
    2: Orientation(reverses_columns=True),
    3: Orientation(reverses_rows=True, reverses_columns=True),
    4: Orientation(reverses_rows=True),
    5: Orientation(swaps=True),
    6: Orientation(reverses_rows=True, swaps=True),
    7: Orientation(reverses_rows=True, reverses_columns=True, swaps=True),
    8: Orientation(reverses_columns=True, swaps=True),
}


def orientation_of(image: Image.Image) -> Orientation:
    """Return the orientation of an opened image that is still to be applied, as `PIL.ImageOps.exif_transpose` reads it.

    Pillow applies that of a TIFF itself. A PNG may say it after its pixels, so one that has not said it yet is decoded.
    """
    if image.format == "TIFF":
        return UPRIGHT
    if image.format == "PNG":
        image.load()
    try:
        tag = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # parsers raise anything; metadata that cannot be read do not keep pixels from being seen
        return UPRIGHT
    return _BY_TAG.get(tag, UPRIGHT) if isinstance(tag, int) else UPRIGHT


def may_turn(image: Image.Image, file: str | Path) -> bool:
    """Return whether an opened image has metadata that may swap its height and width."""
    if image.width == image.height:
        return False
    if image.format != "PNG" or {"exif", "Raw profile type exif", "XML:com.adobe.xmp"} & image.info.keys():
        return True
    return _png_goes_on_after_its_pixels(file)


def _png_goes_on_after_its_pixels(file: str | Path) -> bool:
    pixels_seen = False
    with open(file, "rb") as chunks:  # noqa: PTH123 - many times
        chunks.seek(_PNG_SIGNATURE)
        while len(header := chunks.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            if pixels_seen and kind not in (b"IDAT", b"IEND"):
                return True
            pixels_seen = pixels_seen or kind == b"IDAT"
            chunks.seek(length + _CRC, 1)
    return False
