"""Where images come from: each data set's training and test part, labels first and pixels when they are asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search_space.errors import InputError
from trainers.data import image_folder
from trainers.data.config import IMAGE_FOLDER, DataConfig, check_present, folder_of
from trainers.data.stratified import Indices, stratified_sample

Part = Literal["train", "test"]
Pixels = NDArray[np.uint8]

# scikit-learn's digits have no official test set. This one is the same for every search and every split_seed.
_DIGITS_TEST_FRACTION = 0.2
_DIGITS_TEST_SEED = 0


@dataclass(frozen=True)
class Source:
    """One part of a data set: the labels [N], and ``read`` from indices [n] to the pixels [n, C, H, W] of those."""

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[Indices], Pixels]


def open_source(config: DataConfig, part: Part) -> Source:
    """The training or the test part of a data set. The other part's images are not loaded.

    Raises:
        InputError: the data set is missing, damaged, or cannot be downloaded.
    """
    check_present(config)  # whose errors are clearer than the libraries'
    return SOURCES[config.name](config, part)


def _digits(config: DataConfig, part: Part) -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    test = stratified_sample(labels, round(_DIGITS_TEST_FRACTION * len(labels)), _DIGITS_TEST_SEED)
    chosen = test if part == "test" else np.setdiff1d(np.arange(len(labels)), test)
    pixels = np.rint(bunch.images[chosen, None] * (255 / 16)).astype(np.uint8)
    return Source(tuple(str(name) for name in bunch.target_names), labels[chosen], lambda indices: pixels[indices])


def _cifar10(config: DataConfig, part: Part) -> Source:
    from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, config, part)


def _cifar100(config: DataConfig, part: Part) -> Source:
    from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, config, part)


def _cifar(dataset: Callable[..., Any], config: DataConfig, part: Part) -> Source:
    loaded = _load(dataset, config, train=part == "train")
    pixels: Pixels = loaded.data
    return Source(
        tuple(loaded.classes),
        np.asarray(loaded.targets, dtype=np.int64),
        lambda indices: pixels[indices].transpose(0, 3, 1, 2),
    )


def _svhn(config: DataConfig, part: Part) -> Source:
    from torchvision.datasets import SVHN

    loaded = _load(SVHN, config, split=part)
    pixels: Pixels = loaded.data
    names = tuple(str(digit) for digit in range(10))
    return Source(names, loaded.labels.astype(np.int64), lambda indices: pixels[indices])


def _fashion_mnist(config: DataConfig, part: Part) -> Source:
    from torchvision.datasets import FashionMNIST

    loaded = _load(FashionMNIST, config, train=part == "train")
    pixels: Pixels = loaded.data.numpy()
    return Source(
        tuple(loaded.classes),
        loaded.targets.numpy().astype(np.int64),
        lambda indices: pixels[indices, None],
    )


def _load(dataset: Callable[..., Any], config: DataConfig, **which: object) -> Any:
    try:
        return dataset(folder_of(config), download=config.download, **which)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot load {config.name} from {config.root}: {reason}") from error


def _image_folder(config: DataConfig, part: Part) -> Source:
    root = folder_of(config)
    classes = image_folder.class_names(root)
    folder = root / "train" if part == "train" else image_folder.folder_of_tests(root)
    files, labels = image_folder.list_images(folder, classes)
    shape = image_folder.image_shape(root, config.image_size)

    def read(indices: Indices) -> Pixels:
        chosen = [files[index] for index in indices]
        return image_folder.decode(chosen, shape, resize=config.image_size is not None)

    return Source(classes, labels, read)


SOURCES: dict[str, Callable[[DataConfig, Part], Source]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    "fashion_mnist": _fashion_mnist,
    IMAGE_FOLDER: _image_folder,
}
