"""The batches of one epoch, a function of the data, the recipe, the seed and the epoch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trainers.augment import augment
from trainers.data.images import ImageSet
from trainers.recipe import Recipe
from trainers.seeds import generator


def training_batches(data: ImageSet, recipe: Recipe, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, augmented images [B, C, H, W] (uint8) and labels [B], on the data's device.

    All batches are full: what is left over at the end of an epoch is dropped, other images in each epoch.
    """
    order = torch.randperm(len(data), generator=generator(seed, epoch, "order")).to(data.images.device)
    augmentation = generator(seed, epoch, "augmentation")
    full = len(order) - len(order) % recipe.batch_size
    for batch in torch.split(order[:full], recipe.batch_size):
        yield augment(data.images[batch], recipe, augmentation), data.labels[batch]
