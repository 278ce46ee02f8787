"""Augmentation of whole batches, on the device that they are on.

Every image of a batch gets its own shift and flip. The draws are made on the CPU, so that a generator gives the same
batch on every device.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.recipe import Recipe


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Applies the recipe's augmentations, in its order, to images [N, C, H, W]; shape and dtype stay."""
    for name in recipe.augment:
        images = AUGMENTATIONS[name](images, recipe, generator)
    return images


def crop(images: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Pads images [N, C, H, W] with black and cuts an H x W window at (top, left) [N], 0 to 2 * padding, out of each.

    At (padding, padding) an image is unchanged.
    """
    _, _, height, width = images.shape
    padded = F.pad(images, (padding, padding, padding, padding))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view [N, C, top, left, H, W]
    each = torch.arange(len(images), device=images.device)
    return windows[each, :, top.to(images.device), left.to(images.device)]


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirrors the chosen (bool [N]) of images [N, C, H, W] left to right."""
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)


def _random_crop(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    top, left = torch.randint(2 * recipe.crop_padding + 1, (2, len(images)), generator=generator)
    return crop(images, top, left, recipe.crop_padding)


def _random_flip(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    return flip(images, torch.rand(len(images), generator=generator) < 0.5)


AUGMENTATIONS: dict[str, Callable[[Tensor, Recipe, torch.Generator], Tensor]] = {
    "crop": _random_crop,
    "flip": _random_flip,
}
