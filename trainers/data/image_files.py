"""Images in files, read by threads: Pillow decodes and scales without Python's lock. Nothing here imports torch."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search_space.errors import InputError
from trainers.available_cpus import available_cpus
from trainers.data.memory import available_memory
from trainers.data.orientation import may_turn, orientation_of
from trainers.data.rgb import as_rgb
from trainers.data.windows import CentralWindow, Size, Window, Windows

Pixels = NDArray[np.uint8]
_T = TypeVar("_T")

FILES_PER_TASK = 8
"""How many files a thread reads before it asks for more."""

_STATS_AT_ONCE = 16
_NAMED = 5
_GIB = 2**30


class CorruptImageError(InputError):
    """A file whose image cannot be decoded, or has values that cannot be taken for brightness."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Files below a folder, of an image each, and what to do about those that are not as they should be.

    Args:
        folder: what the names are relative to.
        names: [N], as the bytes that the file system has, since an array is shared where a list would be copied.
        only: the size that all images must have; None for any.
        skip_corrupt: whether to leave out what cannot be decoded instead of refusing it.
    """

    folder: Path
    names: NDArray[np.bytes_]
    only: Size | None = None
    skip_corrupt: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def of(self, indices: NDArray[np.int64]) -> "ImageFiles":
        """Some of the files."""
        return replace(self, names=self.names[indices])

    def path(self, index: int) -> str:
        """Where a file is."""
        return os.path.join(self.folder, os.fsdecode(self.names[index]))  # noqa: PTH118 - millions of times

    def sizes(self) -> NDArray[np.int64]:
        """The sizes [N] of the files in bytes.

        Raises:
            InputError: a file is not there.
        """
        with ThreadPoolExecutor(_STATS_AT_ONCE) as threads:  # that wait for a network's file system
            return np.array(list(threads.map(self._size, range(len(self)), chunksize=256)), dtype=np.int64)

    def read(self, indices: Sequence[int], windows: Windows, pixels: Pixels) -> list[int]:
        """Decodes windows of some of the images, each scaled to fill its place in ``pixels`` [n, 3, H, W].

        Returns:
            The places, 0 to n - 1, that were not filled, as their images are corrupt and to be left out.

        Raises:
            CorruptImageError: an image cannot be decoded and is not to be left out.
            InputError: a file cannot be opened, or its image has not the one size that all must have.
        """
        left_out = []
        for place, index in enumerate(indices):
            try:
                pixels[place] = _read(self.path(index), windows[place], pixels.shape[2:], self.only)
            except CorruptImageError:
                if not self.skip_corrupt:
                    raise
                left_out.append(place)
        return left_out

    def check_shapes(self) -> None:
        """Looks at the headers of all files, where all images must have one size.

        Raises:
            InputError: an image has another, or it cannot be read and is not to be left out.
        """
        if self.only is None:
            return
        with ThreadPoolExecutor(_STATS_AT_ONCE) as threads:
            for _ in threads.map(self._check_shape, range(len(self)), chunksize=256):
                pass  # reaps each task, so that its error is raised here

    def _check_shape(self, index: int) -> None:
        file = self.path(index)
        try:
            size = size_of(file)
        except CorruptImageError:
            if not self.skip_corrupt:
                raise
        else:
            _check_size(file, size, self.only)

    def _size(self, index: int) -> int:
        file = self.path(index)
        try:
            return os.stat(file).st_size  # noqa: PTH116 - millions of times
        except OSError as error:
            raise out_of_reach(file, error) from error


def decode(files: ImageFiles, frame: Size) -> tuple[Pixels, list[int]]:
    """Decodes the centres of all images, scaled until each just fills the frame.

    Returns:
        The pixels [n, 3, H, W], and the indices of the n images that were decoded.

    Raises:
        InputError: the images would take more than half of the memory that is available, or one cannot be read.
    """
    _check_that_they_fit(len(files), frame)
    decoded = np.empty((len(files), 3, *frame), dtype=np.uint8)
    centre = CentralWindow(frame, frame)

    def decode_from(start: int) -> list[int]:
        stop = min(start + FILES_PER_TASK, len(files))
        return [start + place for place in files.read(range(start, stop), centre, decoded[start:stop])]

    with ThreadPoolExecutor(available_cpus()) as threads:
        tasks = threads.map(decode_from, range(0, len(files), FILES_PER_TASK))
        left_out = {index for task in tasks for index in task}
    kept = [index for index in range(len(files)) if index not in left_out]
    if left_out:
        for place, index in enumerate(kept):  # in place, as there may be no room for a second copy
            decoded[place] = decoded[index]
    return decoded[: len(kept)], kept


def fit_in_memory(count: int, frame: Size) -> bool:
    """Whether so many images of a size take at most half of the memory that is available, as far as is known."""
    available = available_memory()
    return available is None or _bytes(count, frame) <= available // 2


def name_some(files: ImageFiles, indices: Sequence[int]) -> str:
    """The first few of the files by name, for a message."""
    more = f" and {len(indices) - _NAMED} more" if len(indices) > _NAMED else ""
    return ", ".join(files.path(index) for index in indices[:_NAMED]) + more


def size_of(file: str | Path) -> Size:
    """The size of the image in a file as it is shown, from its header.

    Raises:
        CorruptImageError: it cannot be read.
    """
    with _attempt(file, lambda: Image.open(file)) as image:
        size = image.height, image.width
        if not may_turn(image, file):
            return size
        return _attempt(file, lambda: orientation_of(image)).swapped(size)


def out_of_reach(path: str | Path, error: OSError) -> InputError:
    """Return the error for a file or folder that the system does not let us read."""
    return InputError(f"cannot open {path} ({error.strerror}): mend that, or remove it from the data set")


def _bytes(count: int, frame: Size) -> int:
    return count * 3 * frame[0] * frame[1]


def _check_that_they_fit(count: int, frame: Size) -> None:
    if not fit_in_memory(count, frame):
        raise InputError(
            f"{count} images of 3x{frame[0]}x{frame[1]} take {_bytes(count, frame) / _GIB:.1f} GiB, more than half of "
            f"the {(available_memory() or 0) / _GIB:.1f} GiB of memory available: set data.stream: true, or a smaller "
            f"data.image_size (or data.resize) or data.limit"
        )


def _read(file: str, windows: Windows, size: Size, only: Size | None) -> Pixels:
    with _attempt(file, lambda: Image.open(file)) as image:
        orientation = _attempt(file, lambda: orientation_of(image))
        shown = orientation.swapped((image.height, image.width))
        _check_size(file, shown, only)
        window = orientation.stored(windows.within(*shown))
        wanted = orientation.swapped(size)
        height, width = _decode_no_larger_than_needed(image, window, wanted)
        rgb = _attempt(file, lambda: _decoded(image))
        top, left, tall, wide = window * (height, width, height, width)
        seen = rgb.resize(wanted[::-1], Image.Resampling.BILINEAR, (left, top, left + wide, top + tall))
    return orientation.shown(np.asarray(seen)).transpose(2, 0, 1)


def _decoded(image: Image.Image) -> Image.Image:
    image.load()
    return as_rgb(image)


def _check_size(file: str, size: Size, only: Size | None) -> None:
    if only is not None and size != only:
        raise InputError(f"{file} is {size[1]}x{size[0]} and others are {only[1]}x{only[0]}: set data.image_size")


def _decode_no_larger_than_needed(image: Image.Image, window: Window, size: Size) -> tuple[float, float]:
    """Has a JPEG decoded at a half, quarter or eighth, if the window keeps at least the pixels that are wanted.

    Returns:
        The height and width that the image then has, which are fractions of a pixel less than its pixels cover.
    """
    drafted = image.draft("RGB", (int(size[1] / window[3]), int(size[0] / window[2])))
    if drafted is None:
        return image.height, image.width
    _, (_, _, width, height) = drafted
    return height, width


def _attempt(file: str | Path, step: Callable[[], _T]) -> _T:
    """Have Pillow do something with a file."""
    try:
        return step()
    except Exception as error:  # Pillow's parsers raise whatever a broken file makes them raise
        raise _unreadable(file, error) from error


def _unreadable(file: str | Path, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.errno is not None:  # the system's fault, not the image's
        return out_of_reach(file, error)
    reason = " ".join(str(error).split())
    return CorruptImageError(
        f"cannot read the image {file} ({reason}): replace or remove it, or set data.corrupt: skip"
    )
