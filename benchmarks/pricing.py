"""How long it takes to know what an architecture costs, beside counting it on the built network.

    python benchmarks/pricing.py [--architectures 1000000] [--rounds 7]

Everything in one run on one machine: tracing ResNet-50 once; the cost of one architecture from the traced backbone;
a million of them, vectorised; building one; and for one architecture what fvcore and torch's own counter take on the
network once it is built. Medians over rounds, with the fastest and the slowest. The ratios are to the cost of one
architecture here.

On 2026-11-21, on 2 cores of an AMD EPYC that were otherwise idle, Python 3.11.7, torch 2.15.0, seven rounds (three of
the million), `python benchmarks/pricing.py`:

                                              median     fastest     slowest       ratio
    trace the backbone                        142 ms      140 ms      147 ms      39,323
    cost of one architecture                 3.61 us     3.44 us      4.1 us           1
    draw and price 1,000,000                  230 ms      224 ms      230 ms      63,636
    build a network                            59 ms     51.5 ms      249 ms      16,351
    fvcore on the built network               143 ms      140 ms      148 ms      39,551
    torch's counter on the built network     88.3 ms     86.4 ms     90.6 ms      24,472

Building varies with memory: its hundred million bytes of weights are copied, and while earlier networks are not yet let
go it takes up to twice as long (another run on the same machine: 116 ms, from 92 to 376, before the graph was compiled
once instead of twice).
"""

import argparse
import logging
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import torch
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

from search_space import Architecture, SearchSpace, SpaceSpec, build, cost, draw_population, resolve, trace

BACKBONE = resolve("resnet50", num_classes=1000, input_size=(3, 224, 224))
SPEC = SpaceSpec.model_validate({"ratio": {"choices": [4, 8, 16, 32], "per": "layer"}})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args(arguments)
    logging.getLogger("fvcore").setLevel(logging.ERROR)

    traced = trace(BACKBONE)
    space = SearchSpace(traced, SPEC)
    rng = random.Random(0)
    drawn = [space.sample(rng) for _ in range(1000)]
    price_all(traced, drawn)
    network = build(drawn[0]).eval()
    image = torch.zeros(1, 3, 224, 224)

    seconds = {
        "trace the backbone": measured(trace_afresh, asked.rounds),
        "cost of one architecture": [s / len(drawn) for s in measured(lambda: price_all(traced, drawn), asked.rounds)],
        f"draw and price {asked.architectures:,}": measured(
            lambda: draw_population(space, asked.architectures), min(3, asked.rounds)
        ),
        "build a network": measured(lambda: build(drawn[1]), asked.rounds),
        "fvcore on the built network": measured(lambda: FlopCountAnalysis(network, image).total(), asked.rounds),
        "torch's counter on the built network": measured(lambda: count_by_torch(network, image), asked.rounds),
    }
    one = statistics.median(seconds["cost of one architecture"])
    print(
        f"{datetime.now(tz=UTC):%Y-%m-%d}, {processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"{'':40}{'median':>12}{'fastest':>12}{'slowest':>12}{'ratio':>12}")
    for name, found in seconds.items():
        figures = (statistics.median(found), min(found), max(found))
        print(f"{name:40}" + "".join(f"{readable(s):>12}" for s in figures) + f"{figures[0] / one:>12,.0f}")


def trace_afresh() -> None:
    """Traces the backbone, whatever is remembered of it."""
    trace.__wrapped__(BACKBONE)


def price_all(traced: object, architectures: Sequence[Architecture]) -> None:
    """The cost of each."""
    for architecture in architectures:
        cost(traced, architecture)


def count_by_torch(network: torch.nn.Module, image: torch.Tensor) -> int:
    """FLOPs by torch's counter, which runs the network."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return int(counter.get_total_flops()) // 2


def measured(what: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each of several rounds, after one that does not count."""
    what()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        what()
        found.append(time.perf_counter() - start)
    return found


def readable(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def processor() -> str:
    """What this machine computes with."""
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
