"""How fast networks are trained, measure by measure, beside the plain way.

    python benchmarks/training_speed.py [--images DIR] [--device cpu] [--backbone resnet20] [--repeats 5] [--compile]
    python benchmarks/training_speed.py --device cuda --backbone resnet18 --share 1 2 4
    python benchmarks/training_speed.py --accuracy --images DIR --epochs 3

The plain way is what one would write: a data set of torchvision, its transforms, a DataLoader, fp32, channels first,
SGD, one process (with a GPU also with workers and pinned memory). Ours is a TrainingRun of the same network, to which
one measure after another is added. Each way has a process of its own. They take turns, an epoch each, forwards and
backwards; a ratio is that of two epochs of the same turn, and shown are the median and the range. Reading, augmenting
and moving the images count; the first epoch of each way does not, and what it takes longer than the median one (memory,
cuDNN's trials, the compiler) is "start", which "budget" counts in.

Also printed: what share of a big bf16 matmul's speed in the same run the convolutions reach, over whole steps and
while they run; what SE everywhere costs a training step; with ``--share`` how fast trials in processes of their own are
that share the device. ``--accuracy`` trains by the plain way and by ours, from the same weights, for several seeds.

DIR is a folder of CIFAR-10 as torchvision has it, or an image folder (train/<class>/*, test/<class>/*). Without it the
images are random and in memory, as torchvision's CIFAR-10 holds them.

Measured on 2026-11-21 with Python 3.11.7, torch 2.15.0 and torchvision 0.29.2 on 2 cores of an AMD EPYC with bf16
instructions, that had nothing else to do; median and range of 7 repeats of one run each (``--images DIR --limit 1280
--repeats 7``, and with ``--no-se``; DIR all of CIFAR-10 as an image folder). A GPU has not been measured yet.

    ====================  ======================  ===================  ==================  ===================
    ResNet-20             images/s, no SE         times plain, no SE   images/s, SE        times plain, SE
    ====================  ======================  ===================  ==================  ===================
    plain                 598 (474 to 646)        1                    503 (479 to 561)    1
    images on the device  610 (524 to 697)        1.10 (0.97 to 1.17)  498 (436 to 644)    0.99 (0.88 to 1.15)
    + channels_last       797 (638 to 873)        1.32 (1.25 to 1.56)  608 (473 to 679)    1.15 (0.99 to 1.28)
    + bf16                1,194 (918 to 1,253)    1.94 (1.54 to 2.41)  825 (636 to 947)    1.58 (1.14 to 1.86)
    + fused optimizer     1,121 (930 to 1,319)    1.93 (1.50 to 2.67)  909 (613 to 1,002)  1.80 (1.10 to 1.83)
    + freed memory kept   1,246 (1,122 to 1,307)  2.02 (1.78 to 2.76)  983 (717 to 1,074)  1.91 (1.28 to 2.06)
    ====================  ======================  ===================  ==================  ===================

So twice the plain way's speed is reached in the median without SE, and not quite with SE everywhere, which adds 30 %
to a training step here: its blocks are many small operations beside small convolutions. torch.compile (``--compile``)
takes that to 11 %, but starts for 28 s and is otherwise no faster here. Of a bf16 matmul's 0.75 TFLOP/s whole steps
reach 38 % without SE and 28 % with, convolutions alone 65 %. The machine's own speed wanders by a third from run to
run.

Test accuracy after 6 epochs of 3,000 images of CIFAR-10, ResNet-20 with SE everywhere, 3 seeds (``--accuracy --images
DIR --limit 3000 --epochs 6``): plain 0.4027 (standard deviation 0.0094), ours 0.4096 (0.0066), ours less plain 0.0070
(0.0131). No loss is seen; this is too little training to see a small one.
"""

import argparse
import math
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
import torchvision
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

from search_space import Architecture, build, cost, resolve, trace, uniform
from search_space.backbones import entry
from trainers.data.config import DataConfig
from trainers.data.images import ImageSet, Selection
from trainers.data.splits import Splits, final_splits
from trainers.data.stratified import stratified_sample
from trainers.heap import keep_freed_memory
from trainers.recipe import Recipe
from trainers.recipes import load_recipe
from trainers.run import TrainingRun

BATCH = 128
SIDE = 32
CLASSES = 10
EPOCH = 50_000
LR, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 5e-4
RECIPE: Mapping[str, Any] = {
    "optimizer": "sgd",
    "lr": LR,
    "momentum": MOMENTUM,
    "weight_decay": WEIGHT_DECAY,
    "schedule": "cosine",
    "batch_size": BATCH,
    "augment": ["crop", "flip"],
}
WORKERS = 8
BUDGET = 9
UNENDING = 10**6
CONVOLUTIONS = ("aten::mkldnn_convolution", "aten::cudnn_convolution", "aten::convolution_backward")

Epoch = Callable[[], None]
"""Trains for an epoch."""

Way = Callable[["Data", str], Epoch]
"""A way to train on the data, on a device; what it needs travels to another process."""


@dataclass(frozen=True)
class Measures:
    """What is done for speed, beyond images in memory.

    Args:
        recipe: keys of the recipe.
        fused: whether the optimizer is one kernel.
        keeps_memory: whether freed memory is kept for the next step.
        compiled: torch.compile's mode, if any.
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)
    fused: bool = False
    keeps_memory: bool = False
    compiled: str | None = None


CHANNELS_LAST = {"channels_last": True}
BF16 = {**CHANNELS_LAST, "precision": "bf16"}
EAGER = Measures(BF16, fused=True, keeps_memory=True)
COMPILED = replace(EAGER, compiled="default")
LADDER = {
    "images on the device": Measures(),
    "+ channels_last": Measures(CHANNELS_LAST),
    "+ bf16": Measures(BF16),
    "+ fused optimizer": Measures(BF16, fused=True),
    "+ freed memory kept": EAGER,
}
COMPILERS = {
    "cpu": {"+ torch.compile": COMPILED},
    "cuda": {
        "+ torch.compile": COMPILED,
        "+ CUDA graphs": replace(EAGER, compiled="reduce-overhead"),
    },
}


@dataclass(frozen=True)
class Data:
    """The same images for both ways: a torchvision data set by its transform, for train and test, and splits."""

    plain: Callable[[bool, Any], Dataset[Any]]
    splits: Splits


class PlainSE(nn.Module):
    """SE as one would write it, with the layers of a block of ours."""

    def __init__(self, fc: nn.ModuleList) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.layers = nn.Sequential(fc[0], nn.ReLU(), fc[1], nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        return x * self.layers(self.pool(x).flatten(1))[:, :, None, None]


class RandomImages(datasets.CIFAR10):
    """torchvision's CIFAR-10 with other images [N, 32, 32, 3] in it."""

    def __init__(self, images: np.ndarray, labels: Sequence[int], transform: Any) -> None:
        datasets.VisionDataset.__init__(self, None, transform=transform)
        self.data, self.targets = images, list(labels)


def main() -> None:
    """Measures what the command line asks for."""
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(
        f"{date.today()}  {device_name(options.device)}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    )
    print(shlex.join(["python", *sys.argv]))
    data = load(options.images, options.limit)
    architectures = both(options.backbone)
    chosen = architectures["SE" if options.se else "no SE"]
    if options.accuracy:
        accuracies(options, data, chosen)
        return
    ladder(options, chosen)
    overhead_of_se(options, architectures)
    print_share_of_the_peak(options, data, chosen)
    sharing(options, chosen)


def parse_options() -> argparse.Namespace:
    """What the command line says, the rest as the device has it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=Path, help="a folder of CIFAR-10, or an image folder")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--backbone", default="resnet20", help="with its stem for small images, if it has one")
    parser.add_argument("--se", action=argparse.BooleanOptionalAction, default=True, help="SE everywhere, or nowhere")
    parser.add_argument("--limit", type=int, help="images in an epoch; 2,560 on a CPU and 50,000 on a GPU if not given")
    parser.add_argument("--repeats", type=int, default=5, help="epochs of each way that count")
    parser.add_argument("--epochs", type=int, default=3, help="of --accuracy")
    parser.add_argument("--seeds", type=int, default=3, help="of --accuracy")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves that to torch")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="the usual on a GPU")
    parser.add_argument("--share", type=int, nargs="*", default=[], help="how many trials are to share the device")
    parser.add_argument("--accuracy", action="store_true", help="compare accuracies instead of speed")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.limit = options.limit or (EPOCH if on_gpu else 20 * BATCH)
    options.compile = on_gpu if options.compile is None else options.compile
    return options


def both(name: str) -> dict[str, Architecture]:
    """A backbone without SE, and with SE everywhere."""
    options = {"stem": "cifar"} if "stem" in entry(name).choices else {}
    backbone = resolve(name, num_classes=CLASSES, input_size=(3, SIDE, SIDE), options=options)
    return {"no SE": Architecture(backbone), "SE": uniform(trace(backbone))}


def load(folder: Path | None, limit: int) -> Data:
    """The images, as many as asked for, to train on."""
    if folder is None:
        return random_images(limit)
    if (folder / "cifar-10-batches-py").exists():
        config = DataConfig(name="cifar10", root=folder, limit=limit)
    else:
        config = DataConfig(name="imagefolder", root=folder, limit=limit, image_size=SIDE)

    def plain(train: bool, transform: Any) -> Dataset[Any]:
        if config.name == "cifar10":
            dataset: Any = datasets.CIFAR10(folder, train=train, transform=transform)
        else:
            dataset = datasets.ImageFolder(folder / ("train" if train else "test"), transform)
        if not train or limit >= len(dataset):
            return dataset
        return Subset(dataset, stratified_sample(np.array(dataset.targets), limit, config.split_seed).tolist())

    return Data(plain, final_splits(config))


def random_images(count: int) -> Data:
    """Images of noise."""
    source = np.random.default_rng(0)
    images = source.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = source.integers(0, CLASSES, count)
    held = ImageSet(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels), CLASSES)
    return Data(lambda train, transform: RandomImages(images, labels.tolist(), transform), Splits(held, held))


def loader(data: Data, *, train: bool, device: str, workers: int = 0) -> DataLoader[Any]:
    """The plain way to batches."""
    known = data.splits.normalization
    normalize = transforms.Normalize([mean / 255 for mean in known.mean], [std / 255 for std in known.std])
    augment = [transforms.RandomCrop(SIDE, padding=4), transforms.RandomHorizontalFlip()] if train else []
    dataset = data.plain(train, transforms.Compose([*augment, transforms.ToTensor(), normalize]))
    return DataLoader(
        dataset,
        BATCH,
        shuffle=train,
        drop_last=train,
        num_workers=workers,
        pin_memory=workers > 0 and device == "cuda",
        persistent_workers=workers > 0,
    )


def plain_network(architecture: Architecture, seed: int = 0) -> nn.Module:
    """The network as one would write it, with the weights of ours."""
    network = build(architecture, seed=seed)
    for name, block in list(network.get_submodule("se").named_children()) if architecture.sites else []:
        network.get_submodule("se").add_module(name, PlainSE(block.fc))
    return network


def plain_way(architecture: Architecture, workers: int, data: Data, device: str) -> Epoch:
    """What one would write."""
    return plain_epochs(plain_network(architecture), loader(data, train=True, device=device, workers=workers), device)


def plain_epochs(network: nn.Module, batches: DataLoader[Any], device: str, epochs: int = UNENDING) -> Epoch:
    """What one would write, of a network."""
    network = network.to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(batches))
    criterion = nn.CrossEntropyLoss()

    def epoch() -> None:
        torch.backends.cudnn.benchmark = False
        network.train()
        for images, labels in batches:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)  # noqa: PLW2901
            optimizer.zero_grad()
            criterion(network(images), labels).backward()
            optimizer.step()
            schedule.step()

    return epoch


def our_run(architecture: Architecture, splits: Splits, measures: Measures, device: str) -> TrainingRun:
    """Ours, with some of the measures."""
    network: nn.Module = build(architecture)
    if measures.compiled:
        network = torch.compile(network, mode=measures.compiled)  # type: ignore[assignment]
    run = TrainingRun(network, splits, recipe_of(measures), UNENDING, device=device)
    if not measures.fused:
        run.optimizer = torch.optim.SGD(run.model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    return run


def our_way(architecture: Architecture, measures: Measures, data: Data, device: str) -> Epoch:
    """Ours, with some of the measures."""
    if measures.keeps_memory:
        keep_freed_memory()
    run = our_run(architecture, data.splits, measures, device)

    def epoch() -> None:
        torch.backends.cudnn.benchmark = True  # as the trials of a search have it
        run.train_epoch()

    return epoch


def recipe_of(measures: Measures) -> Recipe:
    """The one recipe, with the measures that are in its hand."""
    return load_recipe([dict(RECIPE), dict(measures.recipe)])


def ladder(options: argparse.Namespace, architecture: Architecture) -> None:
    """The plain way, and ours with one measure more in each line."""
    ways: dict[str, Way] = {"plain": partial(plain_way, architecture, 0)}
    if options.device == "cuda":
        ways[f"plain, {WORKERS} workers"] = partial(plain_way, architecture, WORKERS)
    measures = {**LADDER, **(COMPILERS[options.device] if options.compile else {})}
    ways |= {name: partial(our_way, architecture, each) for name, each in measures.items()}
    first, seconds = take_turns(ways, options)

    images = options.limit // BATCH * BATCH
    network_name = f"{architecture.backbone.name} {'with SE everywhere' if options.se else 'without SE'}"
    print(
        f"\n{network_name}, batches of {BATCH}, {images:,} images an epoch, {options.repeats} repeats, "
        f"{torch.get_num_threads()} threads of the CPU"
    )
    print(f"{'':24}{'images/s':>26}{f's per {EPOCH:,}':>14}{'times plain':>22}{'start':>9}{f'budget of {BUDGET}':>14}")
    for name, took in seconds.items():
        rates = [images / s for s in took]
        ratios = [plain / s for plain, s in zip(seconds["plain"], took, strict=True)]
        median = statistics.median(took)
        start = max(0.0, first[name] - median)
        whole = start + BUDGET * median * EPOCH / images
        print(
            f"{name:<24}{spread(rates, ',.0f'):>26}{median * EPOCH / images:>14.1f}{spread(ratios, '.2f'):>22}"
            f"{start:>7.1f} s{whole:>12.0f} s"
        )


def take_turns(ways: Mapping[str, Way], options: argparse.Namespace) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The seconds of each way's first epoch, and of those that count."""
    with ExitStack() as running:
        epochs = {name: running.enter_context(elsewhere(way, options)) for name, way in ways.items()}
        first = {name: epoch() for name, epoch in epochs.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(options.repeats):
            for name in list(ways)[:: -1 if repeat % 2 else 1]:
                seconds[name].append(epochs[name]())
    return first, seconds


@contextmanager
def elsewhere(way: Way, options: argparse.Namespace) -> Iterator[Callable[[], float]]:
    """Trains for an epoch in a process of its own whenever it is called, and says how many seconds it took."""
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=train_when_asked, args=(way, options, theirs))
    process.start()
    theirs.close()

    def epoch() -> float:
        ours.send(None)
        return ours.recv()

    try:
        yield epoch
    finally:
        ours.close()
        process.join()


def train_when_asked(way: Way, options: argparse.Namespace, asked: Connection) -> None:
    """What the other process does."""
    if options.threads:
        torch.set_num_threads(options.threads)
    epoch = way(load(options.images, options.limit), options.device)
    with suppress(EOFError):
        while True:
            asked.recv()
            asked.send(timed(epoch, options.device))


def timed(work: Callable[[], object], device: str) -> float:
    """The seconds that work takes, the device's included."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: str) -> None:
    """Waits for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def print_share_of_the_peak(options: argparse.Namespace, data: Data, architecture: Architecture) -> None:
    """How fast the convolutions are, beside a big matmul."""
    device = options.device
    peak = matmul_speed(device)
    # Forward, and backward for the input and for the weights; a multiply-add is two operations.
    per_image = 3 * 2 * cost(trace(architecture.backbone), Architecture(architecture.backbone)).flops
    few = min(len(data.splits.train), 10 * BATCH)
    part = next(data.splits.train.batches([Selection(slice(0, few))]))
    splits = Splits(ImageSet(*part, CLASSES), data.splits.held_out)
    epoch = our_way(architecture, EAGER, replace(data, splits=splits), device)
    epoch()
    whole = statistics.median(timed(epoch, device) for _ in range(options.repeats))
    inside = seconds_in_convolutions(epoch, device)
    images = few // BATCH * BATCH
    print(f"\nbf16 matmul, the peak        {peak / 1e12:.2f} TFLOP/s")
    for name, took in {"over whole steps": whole, "while convolutions run": inside}.items():
        reached = per_image * images / took
        print(f"{name:<29}{reached / 1e12:.2f} TFLOP/s, {reached / peak:.1%} of the peak")


def matmul_speed(device: str) -> float:
    """Operations a second of a big matrix product in bf16: the best of several."""
    side, times = (8192, 30) if device == "cuda" else (2048, 10)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * side**3 / min(timed(lambda: a @ b, device) for _ in range(times))


def seconds_in_convolutions(epoch: Epoch, device: str) -> float:
    """How long an epoch's convolutions, forwards and backwards, kept the device at work."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as profiler:
        epoch()
        synchronize(device)
    attribute = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    events = [event for event in profiler.key_averages() if event.key in CONVOLUTIONS]
    return sum(getattr(event, attribute) for event in events) / 1e6 or math.nan


def overhead_of_se(options: argparse.Namespace, architectures: Mapping[str, Architecture]) -> None:
    """What SE everywhere adds to the time of training, all measures taken."""
    print()
    for name, measures in {"eager": EAGER, **({"compiled": COMPILED} if options.compile else {})}.items():
        ways = {which: partial(our_way, architecture, measures) for which, architecture in architectures.items()}
        _, seconds = take_turns(ways, options)
        added = [100 * (se / no_se - 1) for se, no_se in zip(seconds["SE"], seconds["no SE"], strict=True)]
        print(f"SE everywhere adds, {name:<9}{spread(added, '.1f')} %")


def sharing(options: argparse.Namespace, architecture: Architecture) -> None:
    """Trials in processes of their own on one device."""
    if options.share:
        print()
    for count in options.share:
        context = mp.get_context("spawn")
        barrier, times = context.Barrier(count), context.Queue()
        arguments = (options, architecture.to_dict(), barrier, times)
        processes = [context.Process(target=train_beside_others, args=arguments) for _ in range(count)]
        for process in processes:
            process.start()
        longest = max(times.get() for _ in processes)
        for process in processes:
            process.join()
        images = count * options.repeats * (options.limit // BATCH * BATCH)
        print(f"{count} trials on the device      {images / longest:>12,.0f} images/s together")


def train_beside_others(options: argparse.Namespace, architecture: Mapping[str, Any], barrier: Any, times: Any) -> None:
    """One of the trials that share a device: an epoch to warm up, then, as all are ready, those that count."""
    torch.set_num_threads(max(1, (options.threads or torch.get_num_threads()) // barrier.parties))
    data = load(options.images, options.limit)
    epoch = our_way(Architecture.from_dict(dict(architecture)), EAGER, data, options.device)
    epoch()
    synchronize(options.device)
    barrier.wait()
    times.put(timed(lambda: [epoch() for _ in range(options.repeats)], options.device))


def accuracies(options: argparse.Namespace, data: Data, architecture: Architecture) -> None:
    """Test accuracies of both ways, from the same weights and over the same number of epochs, seed by seed."""
    found: dict[str, list[float]] = {"plain": [], "ours": []}
    for seed in range(options.seeds):
        found["plain"].append(plain_accuracy(options, data, architecture, seed))
        network = build(architecture, seed=seed)
        run = TrainingRun(network, data.splits, recipe_of(EAGER), options.epochs, seed=seed, device=options.device)
        while not run.finished:
            run.train_epoch()
        found["ours"].append(run.evaluate().top1)
        print(f"seed {seed}  plain {found['plain'][-1]:.4f}  ours {found['ours'][-1]:.4f}", flush=True)
    differences = [ours - plain for plain, ours in zip(found["plain"], found["ours"], strict=True)]
    print(f"{options.epochs} epochs of {len(data.splits.train):,} images, {len(data.splits.held_out):,} test images")
    for name, values in {**found, "ours - plain, in pairs": differences}.items():
        deviation = statistics.stdev(values) if len(values) > 1 else math.nan
        print(f"{name:<24}{statistics.mean(values):+.4f} (sd {deviation:.4f})")


def plain_accuracy(options: argparse.Namespace, data: Data, architecture: Architecture, seed: int) -> float:
    """The share of the test images that the plain way's network gets right."""
    torch.manual_seed(seed)
    network = plain_network(architecture, seed)
    workers = WORKERS if options.device == "cuda" else 0
    batches = loader(data, train=True, device=options.device, workers=workers)
    epoch = plain_epochs(network, batches, options.device, options.epochs)
    for _ in range(options.epochs):
        epoch()
    network.eval()
    right = count = 0
    with torch.no_grad():
        for images, labels in loader(data, train=False, device=options.device, workers=workers):
            guesses = network(images.to(options.device)).argmax(1).cpu()
            right, count = right + int((guesses == labels).sum()), count + len(labels)
    return right / count


def spread(values: Sequence[float], form: str) -> str:
    """The median, and the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def device_name(device: str) -> str:
    """What the device is."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"a CPU ({platform.machine()}) of which torch uses {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
