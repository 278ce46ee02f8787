"""The splits that a search and a final evaluation use.

A search sees the training images alone, of which a stratified part is held out to score trials. The test set is read
by :func:`final_splits` only, whose training set is everything that the search saw.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from search_space.errors import InputError, printable
from trainers.data.config import DataConfig
from trainers.data.copies import warn_of_equal_images
from trainers.data.images import Images, Normalization, channel_statistics
from trainers.data.sources import Source, open_source
from trainers.data.stratified import Indices, stratified_sample

_NAMED = 5
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Splits:
    """The images to train on, and those, never trained on, that score the network.

    Attributes:
        class_names: names of the classes in the order of labels, as valid Unicode; None where they have none.
    """

    train: Images
    held_out: Images
    class_names: tuple[str, ...] | None = None

    @cached_property
    def normalization(self) -> Normalization:
        """That of the training images; the held-out ones are normalised by it too."""
        return channel_statistics(self.train.sample())

    def to(self, device: torch.device | str) -> "Splits":
        """The same images, whose batches come on a device; nothing is copied if they are there."""
        moved = Splits(self.train.to(device), self.held_out.to(device), self.class_names)
        vars(moved)["normalization"] = self.normalization  # the same, and not to be reckoned again
        return moved


def search_splits(config: DataConfig) -> Splits:
    """The training images, and the validation images held out of them. The test set is not loaded.

    Both keep the classes' shares to within one image, and depend on the configuration alone.

    Raises:
        InputError: the data set cannot be loaded, or a class has too few images for both parts.
    """
    source = open_source(config, "train")
    _tell_what_is_left_out(source)
    train, validation = _split_off_validation(source, config)
    splits = Splits(source.images(train), source.images(validation), _names(source))
    warn_of_equal_images(splits.train, splits.held_out, "validation")
    return splits


def final_splits(config: DataConfig) -> Splits:
    """All images that the search trained or validated on, and the test set.

    Classes that have no image in the test set are named in a warning.

    Raises:
        InputError: the data set cannot be loaded.
    """
    source = open_source(config, "train")
    test = open_source(config, "test")
    _tell_what_is_left_out(source, test)
    untested = [_names(source)[label] for label in np.setdiff1d(source.labels, test.labels)]
    if untested:
        more = f" and {len(untested) - _NAMED} more" if len(untested) > _NAMED else ""
        _LOG.warning("the test set of %s has no image of class %s", config.name, _quoted(untested[:_NAMED]) + more)
    splits = Splits(
        source.images(_within_limit(source, config)),
        test.images(np.arange(len(test.labels), dtype=np.int64)),
        _names(source),
    )
    warn_of_equal_images(splits.train, splits.held_out, "test")
    return splits


def fingerprint(images: Images) -> str:
    """Twelve hexadecimal digits that equal images share and different ones do not.

    In memory all bytes enter, of a stream the names of the files, their sizes and the labels.
    """
    digest = hashlib.sha256()
    for part in images.identity():
        digest.update(part)
    return digest.hexdigest()[:12]


def _names(source: Source) -> tuple[str, ...]:
    """The names of the classes; bytes of a folder's name that are not UTF-8 become escapes such as ``\\xe9``."""
    encoded = (name.encode("utf-8", "surrogateescape") for name in source.class_names)
    return tuple(name.decode("utf-8", "backslashreplace") for name in encoded)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{printable(name)}'" for name in names)


def _tell_what_is_left_out(*sources: Source) -> None:
    for source in sources:
        if source.left_out is not None:
            _LOG.warning("%s", source.left_out)


def _within_limit(source: Source, config: DataConfig) -> Indices:
    everything = np.arange(len(source.labels), dtype=np.int64)
    if config.limit is None or config.limit >= len(everything):
        return everything
    chosen = stratified_sample(source.labels, config.limit, config.split_seed)
    absent = _first_absent_class(source, chosen)
    if absent is not None:
        raise InputError(
            f"data.limit {config.limit} leaves no image of class '{absent}': "
            f"raise it, the data set has {len(everything)} training images of {len(source.class_names)} classes"
        )
    return chosen


def _split_off_validation(source: Source, config: DataConfig) -> tuple[Indices, Indices]:
    pool = _within_limit(source, config)
    present = np.unique(source.labels[pool])
    if present.size < 2:
        raise InputError(f"all images are of class '{source.class_names[present[0]]}': at least 2 classes are needed")
    held_out = stratified_sample(source.labels[pool], round(config.validation * len(pool)), config.split_seed)
    train, validation = np.delete(pool, held_out), pool[held_out]
    for name, part, mend in (("training", train, "lower"), ("validation", validation, "raise")):
        absent = _first_absent_class(source, part)
        if absent is not None:
            raise InputError(
                f"no image of class '{absent}' is left for {name} when data.validation is {config.validation} "
                f"of {len(pool)} images: {mend} it, or give the class more images"
            )
    return train, validation


def _first_absent_class(source: Source, part: Indices) -> str | None:
    absent = np.setdiff1d(source.labels, source.labels[part])
    return source.class_names[absent[0]] if absent.size else None
