"""How well a latency table predicts what networks really take.

    python benchmarks/latency_table.py [--backbone resnet50] [--batch 1] [--architectures 12] [--device cpu]

The table is of the default search space. Architectures drawn from it are built and timed in turn, beside the backbone,
and their medians are held against the predictions. "Without drift" scales the predictions by what the backbone alone
has changed between the two measurements; "were blocks free" predicts the backbone's latency for every architecture.

Measured on 2026-11-21 with Python 3.11.7 and torch 2.15.0 on an AMD EPYC with 2 cores, one run each. The two busy
columns come from a time when other programs kept both cores at work (``--threads 1 --rounds 3 --repeats 20``), the idle
one from two threads on an otherwise idle machine (defaults):

    ==========================  ======================  ======================  ======================
    backbone, image, batch      resnet50, 224, 1, busy  resnet20, 32, 32, busy  resnet20, 32, 32, idle
    ==========================  ======================  ======================  ======================
    its latency (spread)        146.3 ms (103.4 ms)     109.8 ms (56.5 ms)      40.6 ms (2.4 ms)
    table                       75 blocks in 55 s       45 blocks in 31 s       45 blocks in 18 s
    drift                       +5.9 %                  -5.9 %                  -12.4 %
    mean error, without drift   7.2 %, 5.8 %            3.0 %, 7.8 %            15.5 %, 3.6 %
    were blocks free            8.8 %, 6.7 %            5.3 %, 10.3 %           10.5 %, 4.1 %
    largest, without drift      16.0 %, 15.1 %          8.7 %, 14.1 %           21.7 %, 10.6 %
    rank correlation            0.37                    0.77                    0.36
    ==========================  ======================  ======================  ======================

So the table predicts to a few percent once the machine's own drift is taken out, which is little better than taking
blocks for free: what SE adds is of the size of this machine's noise.
"""

import argparse
import platform
import random
import shlex
import sys
import time
from datetime import date

import torch
import torchvision
from rich.console import Console
from rich.table import Table

from search_space.backbones import entry, resolve
from search_space.errors import InputError
from search_space.latency import LatencyTable, PredictionError, measure_table, prediction_error
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import trace


def main() -> None:
    """Measures a table, then networks drawn at random, and prints how far the two are apart."""
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        backbone = resolve(options.backbone, num_classes=1000, input_size=entry(options.backbone).usual_input)
        traced = trace(backbone)
        space = SearchSpace(traced, SpaceSpec())
        started = time.perf_counter()
        table = measure_table(
            traced,
            ((site.name, se) for site, se in space.all_blocks()),
            batch=options.batch,
            device=options.device,
            rounds=options.rounds,
        )
        took = time.perf_counter() - started
        rng = random.Random(options.seed)
        drawn = [space.sample(rng) for _ in range(options.architectures)]
        error = prediction_error(table, traced, drawn, device=options.device, repeats=options.repeats)
    except InputError as wrong:
        sys.exit(str(wrong))
    report(table, took, error)


def parse_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--backbone", default="resnet50", help="at its own input size, in the default search space")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--architectures", type=int, default=12, help="how many are drawn and really measured")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves that to torch")
    parser.add_argument("--rounds", type=int, default=5, help="how often each block is timed at each of its sites")
    parser.add_argument("--repeats", type=int, default=30, help="how often each network is timed")
    parser.add_argument("--seed", type=int, default=0, help="what architectures are drawn from")
    return parser.parse_args()


def report(table: LatencyTable, took: float, error: PredictionError) -> None:
    """Prints one table."""
    shown = Table(show_header=False)
    corrected = error.without_drift()
    base = table.base
    as_if_free = PredictionError((base.median,) * len(error.measured), error.measured, error.drift)
    rows = {
        "backbone": f"{table.backbone.name} at {'x'.join(map(str, table.backbone.input_size))}, batch {base.batch}",
        "its latency": f"{milliseconds(base.median)} (spread {milliseconds(base.spread)}, {base.repeats} passes)",
        "table": f"{len(table.added)} blocks, measured in {took:.0f} s",
        "networks measured": f"{len(error.measured)}, from {milliseconds(min(error.measured))} "
        f"to {milliseconds(max(error.measured))}",
        "drift of the backbone since": f"{error.drift:+.1%}",
        "mean absolute error": f"{error.mean:.2%}, without drift {corrected.mean:.2%}",
        "were blocks free": f"{as_if_free.mean:.2%}, without drift {as_if_free.without_drift().mean:.2%}",
        "largest error": f"{error.largest:.2%}, without drift {corrected.largest:.2%}",
        "rank correlation": f"{error.rank_correlation:.3f} (Spearman)",
        "device": base.device,
        "date": f"{date.today()}",
        "command": shlex.join(["python", *sys.argv]),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}",
    }
    for name, value in rows.items():
        shown.add_row(name, value)
    Console(width=120).print(shown)


def milliseconds(seconds: float) -> str:
    """Seconds as a reader compares them."""
    return f"{seconds * 1e3:.2f} ms"


if __name__ == "__main__":
    main()
