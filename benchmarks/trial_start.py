"""How long a trial takes to start in a process that has trained others: to build, to move, the first step.

    python benchmarks/trial_start.py [--trials 20] [--device cpu] [--precision bf16] [--threads 0]

Architectures drawn from the default space on ResNet-20 take turns with that network, with SE everywhere, as one writes
it in torch. The first of each is shown alone, as it also warms the process up. A usual step is the
third: what the first one takes longer is a start's as well.

Measured on 2026-11-21 with Python 3.11.7 and torch 2.15.0 on 2 cores of an AMD EPYC with bf16 instructions, that had
nothing else to do; bf16, median and range of 20 starts, one run.

    ==========  =======================  ========================
    ms          ours                     by hand
    ==========  =======================  ========================
    build       13.2 (9.5 to 25.1)       5.7 (4.6 to 205.9)
    move        1.8 (1.4 to 2.9)         1.5 (1.4 to 3.8)
    first step  129.6 (99.0 to 199.8)    145.6 (123.8 to 182.8)
    start       142.7 (109.9 to 221.2)   151.9 (130.0 to 381.9)
    usual step  135.2 (99.3 to 164.6)    149.6 (117.3 to 179.7)
    ==========  =======================  ========================

The first start in the process took 273 ms, and tracing the backbone, once, 1.4 s. So a start is the step and little
else: to build and to move take 15 ms, and the first step takes no longer than others. Ours has SE at some sites only,
where the network by hand has it at all nine.
"""

import argparse
import platform
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_space import Architecture, SearchSpace, SpaceSpec, build, resolve, trace
from search_space.backbones.cifar_resnet import BasicBlock, cifar_resnet
from trainers.data.images import ImageSet, Selection
from trainers.data.splits import Splits
from trainers.recipe import Recipe
from trainers.run import TrainingRun

BATCH, SIDE, CLASSES = 128, 32, 10
STEPS = 3
PHASES = ("build", "move", "first step", "start", "usual step")

Clock = Callable[[], float]
"""The seconds since it was last asked, when the device has done all that it was given."""


class HandWrittenSE(nn.Module):
    """A block as one would write it."""

    def __init__(self, channels: int, ratio: int = 16) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Linear(channels, channels // ratio, bias=False)
        self.excite = nn.Linear(channels // ratio, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(self.pool(x).flatten(1)))))
        return x * gate[:, :, None, None]


class EnoughError(Exception):
    """The steps that are timed are done."""


def main() -> None:
    """Starts trials, ours and by hand in turn."""
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    device = torch.device(options.device)
    recipe = Recipe(precision=options.precision, channels_last=True, batch_size=BATCH, augment=("crop", "flip"))
    splits = images().to(device)
    started = time.perf_counter()
    space = SearchSpace(trace(resolve("resnet20", num_classes=CLASSES, input_size=(3, SIDE, SIDE))), SpaceSpec())
    source = random.Random(0)
    traced = time.perf_counter() - started
    took: dict[str, list[Sequence[float]]] = {"ours": [], "by hand": []}
    for _ in range(options.trials + 1):
        took["ours"].append(ours(space.sample(source), splits, recipe, device))
        took["by hand"].append(by_hand(splits, recipe, device))

    print(
        f"{date.today()}  {options.device}, {torch.get_num_threads()} threads of the CPU ({platform.machine()}), "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
    print(shlex.join(["python", *sys.argv]))
    print(f"ResNet-20, batches of {BATCH}, {options.precision}; {options.trials} starts each; ms, median (range)")
    print(f"to trace the backbone, once in a process: {traced * 1e3:.0f} ms\n")
    print(f"{'':20}" + "".join(f"{phase:>24}" for phase in PHASES))
    for name, (first, *others) in took.items():
        print(f"{name + ', the first':<20}" + "".join(f"{seconds * 1e3:>24.1f}" for seconds in first))
        print(f"{name:<20}" + "".join(f"{spread(column):>24}" for column in zip(*others, strict=True)))


def parse_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--trials", type=int, default=20, help="starts of each kind that count")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves that to torch")
    return parser.parse_args()


def images() -> Splits:
    """Noise, a few steps of it."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (STEPS * BATCH, 3, SIDE, SIDE), generator=draws, dtype=torch.uint8)
    held = ImageSet(pixels, torch.randint(CLASSES, (len(pixels),), generator=draws), CLASSES)
    splits = Splits(held, held)
    assert splits.normalization  # which an actor reckons once for all of its trials
    return splits


def ours(architecture: Architecture, splits: Splits, recipe: Recipe, device: torch.device) -> list[float]:
    """The seconds of each phase, as a trial has them."""
    clock = stopwatch(device)
    network = build(architecture)
    built = clock()
    run = TrainingRun(network, splits, recipe, 1, device=device)
    moved = clock()
    steps: list[float] = []

    def after_each_step() -> None:
        steps.append(clock())
        if len(steps) == STEPS:
            raise EnoughError

    try:
        run.train_epoch(after_each_step)
    except EnoughError:
        return phases(built, moved, steps)
    raise AssertionError("the epoch is too short")


def by_hand(splits: Splits, recipe: Recipe, device: torch.device) -> list[float]:
    """The same of a network and a loop that are written in torch."""
    pixels, labels = next(splits.train.batches([Selection(slice(0, BATCH))]))
    clock = stopwatch(device)
    network = cifar_resnet(20, 3, CLASSES)
    for block in network.modules():
        if isinstance(block, BasicBlock):
            block.bn2 = nn.Sequential(block.bn2, HandWrittenSE(block.bn2.num_features))
    built = clock()
    network = network.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)
    moved = clock()
    steps = []
    for _ in range(STEPS):
        normalized = pixels.float().sub_(128).div_(64).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = network(normalized)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append(clock())
    return phases(built, moved, steps)


def phases(built: float, moved: float, steps: Sequence[float]) -> list[float]:
    """As they are shown."""
    return [built, moved, steps[0], built + moved + steps[0], steps[-1]]


def stopwatch(device: torch.device) -> Clock:
    """A clock that starts now."""
    last = time.perf_counter()

    def clock() -> float:
        nonlocal last
        if device.type == "cuda":
            torch.cuda.synchronize()
        before, last = last, time.perf_counter()
        return last - before

    return clock


def spread(seconds: Sequence[float]) -> str:
    """The median, and the range, in milliseconds."""
    median, least, most = (value * 1e3 for value in (statistics.median(seconds), min(seconds), max(seconds)))
    return f"{median:.1f} ({least:.1f} to {most:.1f})"


if __name__ == "__main__":
    main()
