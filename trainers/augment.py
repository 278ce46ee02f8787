"""Augmentation of whole batches, on the device that they are on.

Every image of a batch gets its own window, shift, flip and hole. The draws are made on the CPU, so that a generator
gives the same batch on every device.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.data.windows import NUMBERS, RandomWindows
from trainers.moving import moved
from trainers.recipe import Recipe


def random_windows(recipe: Recipe, count: int, generator: torch.Generator) -> RandomWindows | None:
    """Windows of ``count`` images, to be cut out as they are read, if the recipe has an augmentation that wants them.

    It is always the first thing done to an image, at whatever place the recipe names it.
    """
    chosen = [WINDOWS[name] for name in recipe.augment if name in WINDOWS]
    return chosen[0](count, recipe, generator) if chosen else None


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Applies the rest of the recipe's augmentations, in its order, to images [N, C, H, W]; shape and dtype stay."""
    for name in recipe.augment:
        if name in CHANGES:
            images = CHANGES[name](images, recipe, generator)
    return images


def crop(images: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Pads images [N, C, H, W] with black and cuts an H x W window at (top, left) [N], 0 to 2 * padding, out of each.

    At (padding, padding) an image is unchanged.
    """
    padded = F.pad(images, (padding, padding, padding, padding)).contiguous()
    image, *steps = padded.stride()
    last = sum((side - 1) * step for side, step in zip(images.shape[1:], steps, strict=True))
    # A window from every byte on, as a view: of these one is taken for each image, which is faster than indices of
    # rows and columns are.
    windows = padded.as_strided((padded.numel() - last, *images.shape[1:]), (1, *steps))
    begin = torch.arange(len(images)) * image + top * steps[1] + left
    return windows.index_select(0, moved(begin, images.device))


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirrors the chosen (bool [N]) of images [N, C, H, W] left to right."""
    which = chosen.cpu().nonzero()[:, 0]
    places = torch.arange(len(images))
    places[which] = len(images) + torch.arange(len(which))
    mirrored = images.index_select(0, moved(which, images.device)).flip(3)
    return torch.cat([images, mirrored]).index_select(0, moved(places, images.device))


def cutout(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Blackens the square with its corner at (top, left) [N], as far as it is inside, of images [N, C, H, W]."""
    rows, columns = (
        _covered(moved(begin, images.device), side, length)
        for begin, length in zip((top, left), images.shape[2:], strict=True)
    )
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


def _covered(begin: Tensor, side: int, length: int) -> Tensor:
    """Which [N, length] of a length's pixels lie from ``begin`` [N] to ``begin + side``."""
    distance = torch.arange(length, device=begin.device) - begin[:, None]
    return (distance >= 0) & (distance < side)


def _random_windows(count: int, recipe: Recipe, generator: torch.Generator) -> RandomWindows:
    numbers = torch.rand((count, NUMBERS), dtype=torch.float64, generator=generator)
    return RandomWindows(numbers.numpy(), recipe.crop_scale)


def _random_crop(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    top, left = torch.randint(2 * recipe.crop_padding + 1, (2, len(images)), generator=generator)
    return crop(images, top, left, recipe.crop_padding)


def _random_flip(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    return flip(images, torch.rand(len(images), generator=generator) < 0.5)


def _random_cutout(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The square's centre is anywhere in the image (arXiv 1708.04552)."""
    top, left = (
        torch.randint(length, (len(images),), generator=generator) - recipe.cutout_size // 2
        for length in images.shape[2:]
    )
    return cutout(images, top, left, recipe.cutout_size)


WINDOWS: dict[str, Callable[[int, Recipe, torch.Generator], RandomWindows]] = {
    "random_resized_crop": _random_windows,
}
"""What decides which part of an image is read."""

CHANGES: dict[str, Callable[[Tensor, Recipe, torch.Generator], Tensor]] = {
    "crop": _random_crop,
    "flip": _random_flip,
    "cutout": _random_cutout,
}
"""What is done to a batch that has been read."""

AUGMENTATIONS = (*WINDOWS, *CHANGES)
