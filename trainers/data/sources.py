"""Where images come from: each data set's training and test part, labels first and images when they are asked for."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from search_space.errors import InputError
from trainers.data import image_folder
from trainers.data.config import IMAGE_FOLDER, KNOWN_DATASETS, DataConfig, check_present, folder_of, view_of
from trainers.data.image_files import ImageFiles, Pixels, decode, fit_in_memory, name_some
from trainers.data.images import Images, ImageSet, check_labels
from trainers.data.stratified import Indices, stratified_sample
from trainers.data.stream import ImageStream

Part = Literal["train", "test"]

# scikit-learn's digits have no official test set. This one is the same for every search and every split_seed.
_DIGITS_TEST_FRACTION = 0.2
_DIGITS_TEST_SEED = 0

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One part of a data set: the labels [N], and ``images`` from indices [n] to those images.

    What its folder holds beside the images is told by ``left_out`` in one line, or None if there is nothing.
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    images: Callable[[Indices], Images]
    left_out: str | None = None


def open_source(config: DataConfig, part: Part) -> Source:
    """The training or the test part of a data set. The other part's images are not loaded.

    Raises:
        InputError: the data set is missing, damaged, or cannot be downloaded.
    """
    check_present(config)  # whose errors are clearer than the libraries'
    source = SOURCES[config.name](config, part)
    check_labels(torch.from_numpy(source.labels), len(source.class_names), of=f"{config.name}'s {part} part")
    return source


def _digits(config: DataConfig, part: Part) -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    test = stratified_sample(labels, round(_DIGITS_TEST_FRACTION * len(labels)), _DIGITS_TEST_SEED)
    chosen = test if part == "test" else np.setdiff1d(np.arange(len(labels)), test)
    pixels = np.rint(bunch.images[chosen, None] * (255 / 16)).astype(np.uint8)
    return _in_memory(config, bunch.target_names, labels[chosen], pixels)


def _mnist_like(name: str) -> Callable[[DataConfig, Part], Source]:
    def source(config: DataConfig, part: Part) -> Source:
        loaded = _load(name, config, train=part == "train")
        return _in_memory(config, loaded.classes, loaded.targets.numpy(), loaded.data.numpy()[:, None])

    return source


def _cifar(name: str) -> Callable[[DataConfig, Part], Source]:
    def source(config: DataConfig, part: Part) -> Source:
        loaded = _load(name, config, train=part == "train")
        return _in_memory(config, loaded.classes, loaded.targets, loaded.data.transpose(0, 3, 1, 2))

    return source


def _svhn(config: DataConfig, part: Part) -> Source:
    loaded = _load("SVHN", config, split=part)
    return _in_memory(config, range(10), loaded.labels, loaded.data)


def _places365(config: DataConfig, part: Part) -> Source:
    folder = folder_of(config) / ("data_256_standard" if part == "train" else "val_256")
    split = "train-standard" if part == "train" else "val"
    # Some versions of torchvision refuse to download what is there.
    download = config.download and not folder.exists()
    loaded = _load("Places365", config, split=split, small=True, download=download)
    names = np.array([os.fsencode(file[len(f"{folder}/") :]) for file, _ in loaded.imgs])
    return _in_files(config, part, folder, tuple(loaded.classes), names, np.array(loaded.targets, dtype=np.int64))


def _imagenet(config: DataConfig, part: Part) -> Source:
    root = folder_of(config)
    found, expected = len(image_folder.class_names(root)), KNOWN_DATASETS["imagenet"].num_classes
    if found != expected:
        raise InputError(
            f"{root / 'train'} holds {found} class folders, not the {expected} of imagenet: "
            f"complete it, or set data.name: imagefolder"
        )
    # The folder "test" is that of ILSVRC's challenge, whose labels are not public.
    return _class_folders(config, part, root / "train" if part == "train" else root / "val")


def _image_folder(config: DataConfig, part: Part) -> Source:
    root = folder_of(config)
    return _class_folders(config, part, root / "train" if part == "train" else image_folder.folder_of_tests(root))


def _class_folders(config: DataConfig, part: Part, folder: Path) -> Source:
    classes = image_folder.class_names(folder_of(config))
    listing = image_folder.list_images(folder, classes)
    source = _in_files(config, part, folder, classes, listing.names, listing.labels)
    return replace(source, left_out=listing.left_out)


def _load(name: str, config: DataConfig, **options: object) -> Any:
    from torchvision import datasets

    try:
        return getattr(datasets, name)(folder_of(config), **{"download": config.download, **options})
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot load {config.name} from {config.root}: {reason}") from error


def _in_memory(config: DataConfig, class_names: Any, labels: Any, pixels: Pixels) -> Source:
    """Of all pixels [N, C, H, W], those that are asked for."""
    known = KNOWN_DATASETS[config.name]
    shape, expected = pixels.shape[1:], (known.channels, known.side, known.side)
    if shape != expected or len(labels) != len(pixels):
        raise InputError(
            f"{config.name} in {config.root} has {len(labels)} labels and {len(pixels)} images of shape {shape}, "
            f"not as many of shape {expected}: its files are damaged"
        )
    numbers = np.asarray(labels, dtype=np.int64)
    names = tuple(str(name) for name in class_names)

    def images(indices: Indices) -> ImageSet:
        chosen = torch.from_numpy(np.ascontiguousarray(pixels[indices]))
        return ImageSet(chosen, torch.from_numpy(numbers[indices]), len(names), view_of(config))

    return Source(names, numbers, images)


def _in_files(
    config: DataConfig,
    part: Part,
    folder: Path,
    class_names: tuple[str, ...],
    names: NDArray[np.bytes_],
    labels: Indices,
) -> Source:
    """Of all files, those that are asked for: streamed or decoded, as the configuration or else the memory has it."""
    view = view_of(config)
    only = None if config.image_size is not None else view.size
    # Absolute, as a stream is read by workers whose working directory may be another.
    files = ImageFiles(folder.absolute(), names, only, skip_corrupt=config.corrupt == "skip")
    wanted = min(config.limit or len(labels), len(labels)) if part == "train" else len(labels)
    streamed = config.stream if config.stream is not None else not fit_in_memory(wanted, view.frame)

    def stream(indices: Indices) -> ImageStream:
        chosen = files.of(indices)
        if config.name == IMAGE_FOLDER:
            chosen.check_shapes()  # while nothing is trained yet
        return ImageStream(chosen, torch.from_numpy(labels[indices]), len(class_names), view)

    def read(indices: Indices) -> ImageSet:
        chosen = files.of(indices)
        pixels, kept = decode(chosen, view.frame)
        left_out = np.setdiff1d(np.arange(len(chosen)), kept)
        if left_out.size:
            _tell(chosen, left_out, labels[indices][kept], labels[indices], class_names)
        decoded = torch.from_numpy(pixels), torch.from_numpy(labels[indices][kept])
        return ImageSet(*decoded, len(class_names), view, chosen.of(np.array(kept, dtype=np.int64)))

    return Source(class_names, labels, stream if streamed else read)


def _tell(files: ImageFiles, left_out: Indices, kept: Indices, labels: Indices, class_names: tuple[str, ...]) -> None:
    """Warns of the images left out. All labels of a class gone is an error."""
    named = name_some(files, left_out.tolist())
    gone = np.setdiff1d(labels, kept)
    if gone.size:
        raise InputError(f"no image of class '{class_names[gone[0]]}' can be read, as {named} cannot: replace them")
    _LOG.warning("left out %d of %d images, which cannot be read: %s", left_out.size, len(files), named)


SOURCES: dict[str, Callable[[DataConfig, Part], Source]] = {
    "digits": _digits,
    "mnist": _mnist_like("MNIST"),
    "fashion_mnist": _mnist_like("FashionMNIST"),
    "kmnist": _mnist_like("KMNIST"),
    "cifar10": _cifar("CIFAR10"),
    "cifar100": _cifar("CIFAR100"),
    "svhn": _svhn,
    "places365": _places365,
    "imagenet": _imagenet,
    IMAGE_FOLDER: _image_folder,
}
