"""How long networks take: measured, and predicted from a table of what each SE block adds.

Measuring every architecture that a search looks at costs more than the rest of its pricing together, so a
:class:`LatencyTable` is measured once per machine and batch: the backbone's own latency, and what each distinct
block adds on a map of each shape. All latencies are in seconds, of one forward pass in inference mode.

A block is timed where it stands, by a stopwatch around it while the whole network runs. Two other ways were tried on
one thread of a busy AMD EPYC, once each, by the processor time that 12 random networks took (variants standard and
slow_both, ratios 4 and 16), the backbone's drift since scaled out:

===========================================  ======================  ======================
mean error (rank correlation)                resnet50, 224, batch 1  resnet20, 32, batch 32
===========================================  ======================  ======================
timed where it stands                        1.3 % (0.82)            2.4 % (0.91)
timed alone on one map                       1.5 % (0.92)            4.5 % (0.91)
difference of networks with and without it   3.4 % (0.69)            2.7 % (0.76)
===========================================  ======================  ======================

Alone, over and over, a block finds its input and its weights in the cache, and seems two to four times as fast as in a
network, where other layers have since used that up. The difference sees what a block does to its neighbours too, but
drowns in the noise of the backbone, which takes some two hundred times as long.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import StatisticsError, correlation, fmean, median
from time import perf_counter_ns
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from search_space.architecture import SE, Architecture, Backbone, Position, Shape
from search_space.building import build, make_block, se_module
from search_space.errors import InputError, unknown
from search_space.tracing import TracedBackbone, trace

BlockOnMap = tuple[SE, Shape]
"""A block, its position left at "standard", and (channels, height, width) of the map it scales."""


@dataclass(frozen=True)
class Latency:
    """How long a network takes for one batch.

    Attributes:
        median: of the repeats, in seconds.
        spread: their interquartile range, in seconds.
        batch: images in one forward pass.
        device: what it ran on, for readers: a GPU's name, or a CPU's model and how many threads.
        repeats: how often it was timed.
    """

    median: float
    spread: float
    batch: int
    device: str
    repeats: int


@dataclass(frozen=True)
class LatencyTable:
    """What an architecture's latency is predicted from.

    Attributes:
        backbone: what the blocks stand in.
        base: its latency without any block.
        added: the seconds that each block adds on a map of a shape.
    """

    backbone: Backbone
    base: Latency
    added: Mapping[BlockOnMap, float] = field(hash=False)

    def predict(self, architecture: Architecture) -> float:
        """The seconds that an architecture takes: the backbone's, and what each of its blocks adds.

        Raises:
            InputError: it is of another backbone, or has a block that is not in the table; the message names the site.
        """
        if architecture.backbone != self.backbone:
            raise InputError(f"the latency table is of {self.backbone}, not of {architecture.backbone}")
        traced = trace(self.backbone)
        return self.base.median + sum(self._added_by(traced, name, se) for name, se in architecture.sites)

    def _added_by(self, traced: TracedBackbone, site: str, se: SE) -> float:
        block = _block_on_map(traced, site, se)
        if block not in self.added:
            size = "x".join(map(str, block[1]))
            raise InputError(f"site {site}: the latency table has no block {_described(se)} on a map of {size}")
        return self.added[block]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in a JSON file."""
        return {
            "backbone": self.backbone.to_dict(),
            "base": asdict(self.base),
            "added": [
                {"block": _described(se), "map": list(shape), "seconds": seconds}
                for (se, shape), seconds in self.added.items()
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LatencyTable":
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: the data is not a latency table.
        """
        try:
            return cls(
                backbone=Backbone.from_dict(data["backbone"]),
                base=Latency(**data["base"]),
                added=dict(_entry(**entry) for entry in data["added"]),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"not a latency table: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class PredictionError:
    """How far predictions are from the latencies of networks that were really built and timed.

    Attributes:
        predicted: seconds, of each architecture.
        measured: the same, timed.
        drift: how much longer the backbone took beside these networks than in the table, relatively: what the machine
            alone has changed since.
    """

    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    drift: float

    @property
    def mean(self) -> float:
        """The mean absolute error relative to what was measured."""
        return fmean(self._relative())

    @property
    def largest(self) -> float:
        """The largest absolute error relative to what was measured."""
        return max(self._relative())

    @property
    def rank_correlation(self) -> float:
        """Spearman's, from -1 to 1: whether the table puts architectures in the right order; NaN if all are equal."""
        try:
            return correlation(_ranks(self.predicted), _ranks(self.measured))
        except StatisticsError:
            return float("nan")

    def without_drift(self) -> "PredictionError":
        """The error that is left when the predictions are scaled by what the machine alone has changed."""
        scaled = tuple(seconds * (1 + self.drift) for seconds in self.predicted)
        return PredictionError(scaled, self.measured, drift=0.0)

    def _relative(self) -> list[float]:
        return [abs(p - m) / m for p, m in zip(self.predicted, self.measured, strict=True)]


def measure_latency(
    network: nn.Module,
    input_size: Shape,
    *,
    batch: int = 1,
    device: str = "cpu",
    repeats: int = 50,
    warm_up: int = 10,
) -> Latency:
    """How long a network takes for a batch of images, in evaluation mode.

    The network is moved to the device and left there; its mode is put back.

    Args:
        input_size: channels, height and width of one image.
        repeats: how many forward passes are timed.
        warm_up: how many go before them untimed.

    Raises:
        InputError: the device does not exist, or a number makes no sense.
    """
    (samples,) = _time_in_turn([network], input_size, batch, device, repeats, warm_up)
    return _latency(samples, batch, device)


def measure_table(
    traced: TracedBackbone,
    blocks: Iterable[tuple[str, SE]],
    *,
    batch: int = 1,
    device: str = "cpu",
    rounds: int = 5,
    warm_up: int = 3,
) -> LatencyTable:
    """What the backbone takes and each block adds, a block being the same wherever it is on a map of one shape.

    For each position there is one network with a block at every site that offers some there. From pass to pass
    these blocks take turns, and between passes so do the networks and the backbone, so that whatever slows the
    machine down for a while slows all of them down.

    Args:
        blocks: each a site's name and a block that it can have; ``SearchSpace`` knows those of a space.
        rounds: how often each block is timed at each of its sites, at least; a median is taken.
        warm_up: how many passes of each network go before, untimed.

    Raises:
        InputError: the device does not exist, a number makes no sense, or a block cannot stand at its site.
    """
    clock = _clock(device)
    offered = _by_position_and_site(blocks)
    backbone = build(Architecture(traced.backbone))
    fully_placed = [_with_blocks_in_turn(traced, position, sites, clock) for position, sites in offered.items()]
    turns = max((len(ses) for sites in offered.values() for ses in sites.values()), default=1)
    networks = [backbone, *fully_placed]
    stopwatches = [m for network in fully_placed for m in network.modules() if isinstance(m, _InTurn)]
    size = traced.backbone.input_size

    def forget_warm_up() -> None:
        for stopwatch in stopwatches:
            stopwatch.forget()

    samples, *_ = _time_in_turn(networks, size, batch, device, rounds * turns, warm_up, forget_warm_up)
    times: dict[BlockOnMap, list[float]] = {}
    for stopwatch in stopwatches:
        for block, seconds in stopwatch.times():
            times.setdefault(block, []).append(seconds)
    return LatencyTable(traced.backbone, _latency(samples, batch, device), {b: median(t) for b, t in times.items()})


def prediction_error(
    table: LatencyTable,
    traced: TracedBackbone,
    architectures: Sequence[Architecture],
    *,
    device: str = "cpu",
    repeats: int = 50,
    warm_up: int = 5,
) -> PredictionError:
    """Builds and times architectures in turn, with the table's batch, and holds its predictions against that.

    Raises:
        InputError: the table lacks a block, there are no architectures, or the device is not there.
    """
    if not architectures:
        raise InputError("the error of a latency table needs architectures to be measured on")
    predicted = tuple(table.predict(architecture) for architecture in architectures)
    networks = [build(a) for a in (Architecture(traced.backbone), *architectures)]
    base, *measured = (
        median(samples)
        for samples in _time_in_turn(networks, traced.backbone.input_size, table.base.batch, device, repeats, warm_up)
    )
    return PredictionError(predicted, tuple(measured), drift=base / table.base.median - 1)


class _Clock(Protocol):
    """Marks moments of a device's work; what lies between two of them is known once it has come to the second."""

    def now(self) -> Any: ...
    def seconds(self, start: Any, end: Any) -> float: ...


class _CpuClock:
    def now(self) -> int:
        return perf_counter_ns()

    def seconds(self, start: int, end: int) -> float:
        return (end - start) / 1e9


class _CudaClock:
    """A GPU works behind the program that drives it, so its moments are events in its own queue of work."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)

    def now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3


class _InTurn(nn.Module):
    """The blocks that a site offers: each call runs the next one, and times it."""

    def __init__(self, blocks: Mapping[BlockOnMap, nn.Module], clock: _Clock) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks.values())
        self._names = list(blocks)
        self._clock = clock
        self._turn = 0
        self._marks: list[tuple[BlockOnMap, Any, Any]] = []

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        block, name = self.blocks[self._turn], self._names[self._turn]
        start = self._clock.now()
        scaled: Tensor = block(x)
        self._marks.append((name, start, self._clock.now()))
        self._turn = (self._turn + 1) % len(self._names)
        return scaled

    def forget(self) -> None:
        """Starts anew."""
        self._turn = 0
        self._marks.clear()

    def times(self) -> Iterator[tuple[BlockOnMap, float]]:
        """The seconds of each call since, and which block it ran."""
        for name, start, end in self._marks:
            yield name, self._clock.seconds(start, end)


def _by_position_and_site(blocks: Iterable[tuple[str, SE]]) -> dict[Position, dict[str, list[SE]]]:
    sorted_out: dict[Position, dict[str, list[SE]]] = {}
    for name, se in dict.fromkeys(blocks):
        sorted_out.setdefault(se.position, {}).setdefault(name, []).append(se)
    return sorted_out


def _with_blocks_in_turn(
    traced: TracedBackbone, position: Position, sites: Mapping[str, Sequence[SE]], clock: _Clock
) -> nn.Module:
    first = Architecture(traced.backbone, tuple((name, ses[0]) for name, ses in sites.items()))
    network = build(first)
    with torch.random.fork_rng(devices=[]):
        for name, ses in sites.items():
            channels = traced.site(name).channels(position)
            blocks = {_block_on_map(traced, name, se): make_block(se, channels) for se in ses}
            network.set_submodule(se_module(name), _InTurn(blocks, clock))
    return network


def _block_on_map(traced: TracedBackbone, site: str, se: SE) -> BlockOnMap:
    return replace(se, position="standard"), traced.site(site).shape(se.position)


def _described(se: SE) -> dict[str, Any]:
    return {key: value for key, value in se.to_dict().items() if key != "position"}


def _entry(block: Mapping[str, Any], map: Sequence[int], seconds: float) -> tuple[BlockOnMap, float]:
    channels, height, width = map
    return (SE.from_dict({"position": "standard", **block}), (channels, height, width)), float(seconds)


def _time_in_turn(
    networks: Sequence[nn.Module],
    input_size: Shape,
    batch: int,
    device: str,
    repeats: int,
    warm_up: int,
    after_warm_up: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """The seconds of each network's passes, one pass of each after the other."""
    for name, value, least in (("batch", batch, 1), ("repeats", repeats, 1), ("warm_up", warm_up, 0)):
        if value < least:
            raise InputError(f"{name} must be at least {least}, not {value}")
    clock = _clock(device)
    images = torch.rand(batch, *input_size, generator=torch.Generator().manual_seed(0)).to(device)
    for network in networks:
        network.to(device)

    def time(network: nn.Module) -> float:
        start = clock.now()
        network(images)
        return clock.seconds(start, clock.now())

    with _evaluating(networks), torch.inference_mode():
        for _ in range(warm_up):
            for network in networks:
                time(network)
        after_warm_up()
        passes = [[time(network) for network in networks] for _ in range(repeats)]
    return [list(samples) for samples in zip(*passes, strict=True)]


@contextmanager
def _evaluating(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Evaluation mode inside, and afterwards of each module the mode it had: some may be frozen."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _latency(samples: Sequence[float], batch: int, device: str) -> Latency:
    quartiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, middle, high = torch.tensor(samples, dtype=torch.float64).quantile(quartiles).tolist()
    return Latency(middle, high - low, batch, _readable(torch.device(device)), len(samples))


def _clock(device: str) -> _Clock:
    _check_device(device)
    return _CpuClock() if device == "cpu" else _CudaClock(torch.device(device))


def _check_device(device: str) -> None:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if device not in there:
        raise unknown("device", device, there)


def _readable(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_cpu_model()}, {threads} thread{'s' if threads > 1 else ''}"


def _cpu_model() -> str:
    """As Linux tells it; other systems name only the architecture."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _ranks(values: Sequence[float]) -> list[float]:
    """From 1, equal values sharing the mean of theirs."""
    return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]
