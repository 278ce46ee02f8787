"""Images in one folder per class: ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``; nothing here imports torch.

The layout of torchvision's ImageFolder: classes are numbered in the order of their names, everything becomes RGB.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from search_space.errors import InputError, unknown
from trainers.data.memory import available_memory

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_LAYOUT = "expected train/<class>/*.jpg and test/<class>/*.jpg"
_FILES_PER_TASK = 64
_GIB = 2**30


def class_names(root: Path) -> tuple[str, ...]:
    """The names of the class folders under ``root/train``, in order: a label is an index into them.

    Raises:
        InputError: the folder is missing, or does not hold at least two class folders.
    """
    train = root / "train"
    if not train.is_dir():
        raise InputError(f"no folder {train}: correct data.root ({_LAYOUT})")
    names = _subfolders(train)
    if len(names) < 2:
        raise InputError(f"{train} holds {len(names)} class folders, at least 2 are needed ({_LAYOUT})")
    return names


def folder_of_tests(root: Path) -> Path:
    """``root/test``, or ``root/val`` when there is none.

    Raises:
        InputError: there is neither.
    """
    for folder in (root / "test", root / "val"):
        if folder.is_dir():
            return folder
    raise InputError(f"no folder {root / 'test'} (nor val): correct data.root ({_LAYOUT})")


def image_shape(root: Path, image_size: int | None) -> tuple[int, int, int]:
    """The (channels, height, width) of the decoded images: ``image_size`` squared, or the size of the first image.

    Raises:
        InputError: there is no image, or the first cannot be read.
    """
    if image_size is not None:
        return 3, image_size, image_size
    first = _images_in(root / "train" / class_names(root)[0])[0]
    with _open(first) as image:
        return 3, image.height, image.width


def list_images(folder: Path, classes: Sequence[str]) -> tuple[list[Path], NDArray[np.int64]]:
    """The image files of a folder, class by class and then by name, and the label [N] of each.

    Raises:
        InputError: a class folder is not among the classes, or holds no image.
    """
    files: list[Path] = []
    labels: list[int] = []
    for name in _subfolders(folder):
        if name not in classes:
            raise unknown(f"class folder in {folder}", name, classes)
        images = _images_in(folder / name)
        files += images
        labels += [classes.index(name)] * len(images)
    if not files:
        raise InputError(f"no images in {folder} ({_LAYOUT})")
    return files, np.array(labels, dtype=np.int64)


def decode(files: Sequence[Path], shape: tuple[int, int, int], *, resize: bool) -> NDArray[np.uint8]:
    """Decodes images, in threads, to one array [N, 3, H, W] of a shape (3, H, W).

    With ``resize``, an image is cropped about its centre to the aspect ratio of the shape and resized to it.

    Raises:
        InputError: the images would take more than half of the memory that is available, one cannot be read, or one
            has another size and is not to be resized.
    """
    _check_that_they_fit(len(files), shape)
    decoded = np.empty((len(files), *shape), dtype=np.uint8)

    def decode_from(start: int) -> None:
        for index in range(start, min(start + _FILES_PER_TASK, len(files))):
            decoded[index] = _decode_one(files[index], shape, resize)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(decode_from, range(0, len(files), _FILES_PER_TASK)):
            pass  # reaps each task, so that its error is raised here
    return decoded


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))


def _images_in(folder: Path) -> list[Path]:
    images = sorted(
        os.path.join(parent, name)  # noqa: PTH118 - strings, as there can be a million of them
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )
    if not images:
        raise InputError(f"no images in {folder}: remove it, or put images of the class in it")
    return [Path(image) for image in images]


def _check_that_they_fit(count: int, shape: tuple[int, int, int]) -> None:
    needed = count * int(np.prod(shape))
    available = available_memory()
    if available is not None and needed > available // 2:
        size = "x".join(str(n) for n in shape)
        raise InputError(
            f"{count} images of {size} take {needed / _GIB:.1f} GiB, more than half of the "
            f"{available / _GIB:.1f} GiB of memory available: set a smaller data.image_size or data.limit"
        )


def _decode_one(file: Path, shape: tuple[int, int, int], resize: bool) -> NDArray[np.uint8]:
    _, height, width = shape
    with _open(file) as image:
        if not resize and image.size != (width, height):
            raise InputError(
                f"{file} is {image.width}x{image.height} and others are {width}x{height}: set data.image_size"
            )
        try:
            if resize:
                image.draft("RGB", (width, height))  # a large JPEG is decoded at a half, quarter or eighth
            rgb = image.convert("RGB")
        except Exception as error:  # Pillow's parsers raise whatever a broken file makes them raise
            raise _unreadable(file, error) from error
    if resize:
        rgb = ImageOps.fit(rgb, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1)


def _open(file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except Exception as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"cannot read the image {file} ({reason}): replace or remove it")
