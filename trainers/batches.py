"""The batches of one epoch, a function of the data, the recipe, the seed, the epoch and the step."""

from collections.abc import Generator, Iterator
from contextlib import closing

import torch
from torch import Tensor

from search_space.errors import InputError
from trainers.augment import augment, random_windows
from trainers.data.images import Images, Selection
from trainers.recipe import Recipe
from trainers.seeds import generator

Batches = Generator[tuple[Tensor, Tensor], None, None]


def training_batches(data: Images, recipe: Recipe, seed: int, epoch: int, first_step: int = 0) -> Batches:
    """Shuffled, augmented images [B, C, H, W] (uint8) and labels [B], on the data's device; not to be changed.

    All batches are full (but for corrupt images that are left out): what is left over at the end of an epoch is
    dropped, other images in each epoch. From any ``first_step`` on they are what they are in an unbroken epoch.

    Raises:
        InputError: an image cannot be read and is not to be left out, or no image of a batch can be.
    """
    order = torch.randperm(len(data), generator=generator(seed, epoch, "order"))
    steps = range(first_step, len(order) // recipe.batch_size)

    def selections() -> Iterator[Selection]:
        for step in steps:
            draws = generator(seed, epoch, f"windows/{step}")
            indices = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            yield Selection(indices, random_windows(recipe, len(indices), draws))

    with closing(data.batches(selections())) as batches:
        for step, (images, labels) in zip(steps, batches, strict=True):
            if not len(labels):
                raise InputError(f"none of the {recipe.batch_size} images of a batch can be read: replace them")
            yield augment(images, recipe, generator(seed, epoch, f"augmentation/{step}")), labels


def scoring_batches(data: Images, size: int) -> Batches:
    """What evaluation sees of all images [B, C, H, W] (uint8), in order and ``size`` at a time, and their labels [B].

    Raises:
        InputError: an image cannot be read and is not to be left out.
    """
    parts = (Selection(slice(start, start + size)) for start in range(0, len(data), size))
    with closing(data.batches(parts)) as batches:
        for images, labels in batches:
            if len(labels):
                yield images, labels
