"""Images in one folder per class: ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``; nothing here imports torch.

The layout of torchvision's ImageFolder: classes are numbered in the order of their names, everything becomes RGB.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from search_space.errors import InputError, unknown
from trainers.data.folder_walk import FoundFile, entries, leads_to_folder, same_files, walk
from trainers.data.image_files import CorruptImageError, size_of
from trainers.data.left_out import LeftOut, by_suffix, suffix_of
from trainers.data.windows import Size

_LAYOUT = "expected train/<class>/*.jpg and test/<class>/*.jpg"
_NEEDING_OTHER_PROGRAMS = ("EPS", "MPEG")
_OPENED_AS = {"MPO": "JPEG"}


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of a folder, class by class and then by name.

    Attributes:
        names: of the files in the folder [N].
        labels: of the files [N].
        left_out: what else is in the folder, in one line; None if nothing is.
    """

    names: NDArray[np.bytes_]
    labels: NDArray[np.int64]
    left_out: str | None


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
    images = sorted(file.path for file in _images_in(folder, LeftOut(folder)))
    for file in images:
        try:
            return size_of(file)
        except CorruptImageError:
            if not skip_corrupt:
                raise
    raise InputError(f"none of the {len(images)} images in {folder} can be read: replace them, or remove the folder")


def list_images(folder: Path, classes: Sequence[str]) -> Listing:
    """List the image files of a folder, each file once.

    Raises:
        InputError: there is no such folder, or a class folder is not among the classes or holds no image, or one file
            is in two classes.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: correct data.root ({_LAYOUT})")
    left_out = LeftOut(folder)
    for entry in entries(folder):
        if entry.name.startswith("."):
            left_out.hidden.append(entry.path)
        elif not leads_to_folder(entry):
            left_out.outside.append(entry.path)
    images: dict[str, list[FoundFile]] = {}
    for class_name in _subfolders(folder):
        if class_name not in classes:
            raise unknown(f"class folder in {folder}", class_name, classes)
        images[class_name] = _images_in(folder / class_name, left_out)
    if not images:
        raise InputError(f"no images in {folder} ({_LAYOUT})")
    repeated = _repeated(images)
    left_out.repeated.extend(repeated.items())
    start = len(str(folder)) + 1
    names: list[bytes] = []
    labels: list[int] = []
    for class_name, files in images.items():
        kept = sorted(file.path[start:] for file in files if file.path not in repeated)
        names += map(os.fsencode, kept)
        labels += [classes.index(class_name)] * len(kept)
    return Listing(np.array(names, dtype=np.bytes_), np.array(labels, dtype=np.int64), left_out.message())


def _repeated(images: Mapping[str, Sequence[FoundFile]]) -> dict[str, str]:
    """Return the paths of files that are another file of their class by a second name, and that file's path."""
    class_of = {file: class_name for class_name, files in images.items() for file in files}
    repeated, in_two_classes = {}, []
    for first, *others in same_files(list(class_of)):
        for other in others:
            repeated[other.path] = first.path
            if class_of[first] != class_of[other]:
                in_two_classes.append((first, other))
    if in_two_classes:
        one, two = in_two_classes[0]
        more = f" (and {len(in_two_classes) - 1} more are in two)" if len(in_two_classes) > 1 else ""
        raise InputError(
            f"{one.path} and {two.path} are one file in the two classes '{class_of[one]}' and '{class_of[two]}'{more}: "
            "remove one of them, or the link that leads to it"
        )
    return repeated


@cache
def _suffixes() -> frozenset[str]:
    """The suffixes, in lower case and with their dots, of the files that Pillow can decode."""
    Image.preinit()  # the common formats first, which is the order that it then tries them in
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if _is_decoded(name))


def _is_decoded(image_format: str) -> bool:
    if image_format in _NEEDING_OTHER_PROGRAMS:
        return False
    factory = Image.OPEN.get(_OPENED_AS.get(image_format, image_format), (None,))[0]
    is_stub = isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    return factory is not None and not is_stub


def _subfolders(folder: Path) -> tuple[str, ...]:
    found = (entry.name for entry in entries(folder) if leads_to_folder(entry))
    return tuple(sorted(name for name in found if not name.startswith(".")))


def _images_in(folder: Path, left_out: LeftOut) -> list[FoundFile]:
    """All images in a folder and in folders within, in no order. What else there is goes to ``left_out``."""
    found = walk(folder)
    images = [file for file in found.files if suffix_of(file.path) in _suffixes()]
    other = [file.path for file in found.files if suffix_of(file.path) not in _suffixes()]
    if not images:
        held = f", which holds {by_suffix(other)}" if other else ""
        raise InputError(f"no images in {folder}{held}: remove it, or put images of the class in it")
    left_out.other.extend(other)
    left_out.hidden.extend(found.hidden)
    left_out.folders.extend(found.repeated)
    return images
