"""Images in one folder per class: ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``; nothing here imports torch.

The layout of torchvision's ImageFolder: classes are numbered in the order of their names, everything becomes RGB.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search_space.errors import InputError, unknown
from trainers.data.image_files import CorruptImageError, size_of
from trainers.data.windows import Size

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_LAYOUT = "expected train/<class>/*.jpg and test/<class>/*.jpg"


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


def image_size(root: Path, *, skip_corrupt: bool) -> Size:
    """The size of the first training image, from its header.

    Raises:
        InputError: there is no image, or the first (with ``skip_corrupt``, any of its class) cannot be read.
    """
    folder = root / "train" / class_names(root)[0]
    images = _images_in(folder)
    for name in images:
        try:
            return size_of(folder / name)
        except CorruptImageError:
            if not skip_corrupt:
                raise
    raise InputError(f"none of the {len(images)} images in {folder} can be read: replace them, or remove the folder")


def list_images(folder: Path, classes: Sequence[str]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """The image files of a folder by their names in it, class by class and then by name, and the label [N] of each.

    Raises:
        InputError: there is no such folder, or a class folder is not among the classes or holds no image.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: correct data.root ({_LAYOUT})")
    names: list[bytes] = []
    labels: list[int] = []
    for class_name in _subfolders(folder):
        if class_name not in classes:
            raise unknown(f"class folder in {folder}", class_name, classes)
        images = _images_in(folder / class_name)
        names += [os.fsencode(f"{class_name}/{image}") for image in images]
        labels += [classes.index(class_name)] * len(images)
    if not names:
        raise InputError(f"no images in {folder} ({_LAYOUT})")
    return np.array(names, dtype=np.bytes_), np.array(labels, dtype=np.int64)


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))


def _images_in(folder: Path) -> list[str]:
    """The names, relative to the folder, of all images in it and in folders within; strings, as there may be many."""
    prefix = len(str(folder)) + 1
    images = sorted(
        os.path.join(parent, name)[prefix:]  # noqa: PTH118
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )
    if not images:
        raise InputError(f"no images in {folder}: remove it, or put images of the class in it")
    return images
