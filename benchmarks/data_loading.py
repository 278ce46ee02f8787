"""How fast batches come, beside torch's DataLoader with torchvision's data sets and transforms.

    python benchmarks/data_loading.py [--repeats 5] [--small 20000] [--photos 800]

Two ways of making the same uint8 batches of 128, shuffled and augmented, on the CPU:

- small: images of 32x32 in memory, padded, cropped and flipped. Theirs are made one by one from an array, as
  torchvision.datasets.CIFAR10 makes them.
- photos: JPEGs of 256x256 in a folder, RandomResizedCrop to 224 and flipped. Theirs come from ImageFolder.

One worker is a DataLoader in one process beside one of our threads. Two are a DataLoader with two processes, which live
on between epochs, beside two threads; small images need none, and are made by the one that asks for them. torch
computes with one thread. All are warm, files in the page cache. A repeat reads everything once each way, in an order
that alternates, and gives one ratio.

Measured on 2026-11-21 over 7 repeats on 2 CPU cores that had other work to do as well, with Python 3.11.7, torch 2.15.0
and torchvision 0.29.2:

    ======  =======  ===============  ====================  =========================
    images  workers  senas, images/s  DataLoader, images/s  ratio (least to greatest)
    ======  =======  ===============  ====================  =========================
    small         1          412,780                12,287     31.38 (11.99 to 40.58)
    photos        1              609                   629        0.97 (0.93 to 1.16)
    small         2          340,471                22,815      14.42 (8.47 to 22.79)
    photos        2              942                   916        1.02 (0.97 to 1.09)
    ======  =======  ===============  ====================  =========================

So batches of small images cost next to nothing, and photographs what decoding them costs anywhere.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from trainers.batches import training_batches
from trainers.data.config import DataConfig
from trainers.data.images import Images, ImageSet
from trainers.data.splits import search_splits
from trainers.data.stream import ImageStream
from trainers.recipe import Recipe

BATCH = 128
CLASSES = 10

Epoch = Callable[[int], int]
"""Reads the epoch of a number and says how many images it had."""


class InMemory(Dataset[tuple[Tensor, int]]):
    """Images one by one from an array [N, H, W, C], as torchvision's CIFAR10 gives them."""

    def __init__(self, pixels: np.ndarray, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels = pixels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), index % CLASSES


def main() -> None:
    """Reads everything both ways, in turn, and prints rates and ratios."""
    options = parse_options()
    torch.set_num_threads(1)
    table = Table("images", "workers", "senas, images/s", "DataLoader, images/s", "ratio (least to greatest)")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_photos(root, options.photos)
        for workers in (1, 2):
            for name, ours, theirs in (
                ("small", *small(options.small, workers)),
                ("photos", *photos(root, workers)),
            ):
                table.add_row(name, str(workers), *compared(ours, theirs, options.repeats))
    console = Console(width=120)
    console.print(
        f"{date.today()}, {options.repeats} repeats on {os.cpu_count()} CPU cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    )
    console.print(table)


def parse_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--small", type=int, default=20_000, help="images of 32x32")
    parser.add_argument("--photos", type=int, default=800, help="JPEGs of 256x256, each one of training")
    return parser.parse_args()


def small(count: int, workers: int) -> tuple[Epoch, Epoch]:
    """Images of 32x32, in memory."""
    pixels = np.random.RandomState(0).randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    transform = transforms.Compose(
        [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    recipe = Recipe(batch_size=BATCH, augment=("crop", "flip"))
    data = ImageSet(images, torch.arange(count) % CLASSES, CLASSES)
    return of_senas(data, recipe), of_torch(InMemory(pixels, transform), workers)


def photos(root: Path, workers: int) -> tuple[Epoch, Epoch]:
    """JPEGs of 256x256, from their files."""
    config = DataConfig(name="imagefolder", root=root, image_size=224, stream=True, validation=0.05)
    data = search_splits(config).train
    if not isinstance(data, ImageStream):
        raise TypeError("what is to be streamed was decoded into memory")
    transform = transforms.Compose(
        [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    recipe = Recipe(batch_size=BATCH, augment=("random_resized_crop", "flip"))
    return of_senas(replace(data, threads=workers), recipe), of_torch(ImageFolder(root / "train", transform), workers)


def of_senas(data: Images, recipe: Recipe) -> Epoch:
    """Epochs of our batches."""
    return lambda epoch: sum(len(labels) for _, labels in training_batches(data, recipe, 0, epoch))


def of_torch(dataset: Dataset[tuple[Tensor, int]], workers: int) -> Epoch:
    """Epochs of a DataLoader's batches: in this process for one worker, in others for more."""
    many = {"num_workers": workers, "persistent_workers": True} if workers > 1 else {}
    loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=True, **many)
    return lambda epoch: sum(len(labels) for _, labels in loader)


def compared(ours: Epoch, theirs: Epoch, repeats: int) -> tuple[str, str, str]:
    """The median rate of each, and the ratio: the median of all repeats, the least and the greatest."""
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for epoch in (ours, theirs):
        epoch(0)
    for repeat in range(repeats):
        turns = [("ours", ours), ("theirs", theirs)]
        for name, epoch in turns if repeat % 2 == 0 else reversed(turns):
            rates[name].append(rate(epoch, repeat + 1))
    ratios = [one / other for one, other in zip(rates["ours"], rates["theirs"], strict=True)]
    return (
        f"{statistics.median(rates['ours']):,.0f}",
        f"{statistics.median(rates['theirs']):,.0f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    )


def rate(epoch: Epoch, number: int) -> float:
    """Images a second."""
    started = time.perf_counter()
    count = epoch(number)
    return count / (time.perf_counter() - started)


def make_photos(root: Path, count: int) -> None:
    """Pictures of shapes and noise, of about as many bytes as photographs have."""
    random = np.random.RandomState(0)
    for number in range(count):
        coarse = Image.fromarray(random.randint(0, 256, (12, 12, 3)).astype(np.uint8)).resize((256, 256))
        noise = random.randint(-12, 13, (256, 256, 1))
        file = root / "train" / f"{number % CLASSES}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)).save(file, quality=90)


if __name__ == "__main__":
    main()
