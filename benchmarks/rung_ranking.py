"""How well the accuracy at ASHA's rungs ranks architectures, by the learning rate's schedule.

    python benchmarks/rung_ranking.py --images DIR [--architectures 24] [--limit 6000] [--epochs 9] [--processes 2]

DIR is an image folder (train/<class>/*). The same architectures, drawn from a space of SE placements on ResNet-8, are
trained with each schedule laid over the recipe `quick`, and scored after every epoch. Printed for each schedule: the
mean accuracy after the last epoch; Spearman's rank correlation between the accuracy at each rung and that after the
last epoch, over the architectures, with a 90% bootstrap interval; and the regret: how much of the best final accuracy
is lost if the best third at the rung goes on. The first schedule is trained with a second seed as well: the rank
correlation between the two seeds' final accuracies is about the most that a rung could be expected to reach.

Curves are appended to a file as they come (--output), and what it holds is not trained again.

On 2026-11-21, with Python 3.11.7 and torch 2.15.0 on 2 cores of an AMD EPYC, ``--images DIR --architectures 20`` with
all of CIFAR-10 as an image folder, of which 4,000 images are trained on and 2,000 score; about 45 s of a core a run:

                          final accuracy               rank correlation with it at       regret, points, at
                          mean     least    greatest   epoch 1            epoch 3        epoch 1  epoch 3
    cosine                0.4998   0.4720   0.5230     -0.23 (-0.55, 0.15)  0.10 (-0.35, 0.50)   1.30     0.00
    one cycle             0.4974   0.4665   0.5200      0.60 ( 0.20, 0.84) -0.03 (-0.39, 0.32)   0.00     0.35
    constant              0.4376   0.3500   0.4920      0.02 (-0.33, 0.41) -0.13 (-0.49, 0.29)   0.00     2.55
    constant, averaged    0.5272   0.5085   0.5505      0.24 (-0.13, 0.58)  0.52 ( 0.13, 0.82)   0.00     0.10

Two seeds' final accuracies under cosine: 0.40 (0.00, 0.69). So averaged weights at a constant rate end best and rank
best at epoch 3, and ``quick`` has them. It is little training on few images: the differences between SE placements are
about as large as the noise of a seed, and all intervals are wide. That one cycle ranks well at epoch 1 and not at epoch
3 fits its rate, which is low in the first and at its highest in the third.
"""

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from search_space import Architecture, SearchSpace, SpaceSpec, build, resolve, trace
from trainers.data.config import DataConfig
from trainers.data.splits import Splits, search_splits
from trainers.recipe import Recipe
from trainers.recipes import load_recipe
from trainers.run import TrainingRun

SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "cosine": {"schedule": "cosine", "warmup_epochs": 1, "ema_decay": None},
    "one cycle": {"schedule": "one_cycle", "warmup_epochs": 0, "ema_decay": None},
    "constant": {"schedule": "constant", "warmup_epochs": 1, "ema_decay": None},
    "constant, averaged": {"schedule": "constant", "warmup_epochs": 1, "ema_decay": 0.99},
}
SPACE = {
    "insertion": {"per": "stage", "choices": [True, False]},
    "variant": {"per": "network", "choices": ["standard", "slow_squeeze", "slow_excite", "slow_both", "bump"]},
    "position": {"per": "stage", "choices": ["standard", "pre", "post", "identity"]},
    "ratio": {"per": "layer", "choices": [2, 4, 8]},
}
RUNGS = (1, 3)
BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Run:
    """One training."""

    schedule: str
    number: int
    architecture: Architecture
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What is trained once."""
        return self.schedule, self.architecture.id, self.seed


def main() -> None:
    """Trains what is not trained yet, and prints what it says."""
    options = _options()
    runs = list(_runs(options.architectures))
    done = _read(options.output)
    left = [run for run in runs if run.key not in done]
    with ProcessPoolExecutor(options.processes) as pool, options.output.open("a") as file:
        pending = {pool.submit(_train, run, options.images, options.limit, options.epochs): run for run in left}
        for future in as_completed(pending):
            run = pending[future]
            done[run.key] = future.result()
            line = {"schedule": run.schedule, "architecture": run.architecture.id, "seed": run.seed}
            print(json.dumps(line | {"curve": done[run.key]}), file=file, flush=True)
            print(f"{run.schedule:<20} {run.number:>3}  {done[run.key][-1]:.4f}", flush=True)
    for schedule in SCHEDULES:
        curves = np.array([done[run.key] for run in runs if run.schedule == schedule and run.seed == 0])
        _report(schedule, curves)
    first = next(iter(SCHEDULES))
    by_seed = [[done[run.key][-1] for run in runs if (run.schedule, run.seed) == (first, seed)] for seed in (0, 1)]
    print(f"{first}: the final accuracies of two seeds   {_correlation(*by_seed)}")


def _runs(architectures: int) -> Iterator[Run]:
    space = SearchSpace(
        trace(resolve("resnet8", num_classes=10, input_size=(3, 32, 32))), SpaceSpec.model_validate(SPACE)
    )
    source, drawn = random.Random(0), dict[str, Architecture]()
    while len(drawn) < architectures:
        architecture = space.sample(source)
        drawn[architecture.id] = architecture
    for number, architecture in enumerate(drawn.values()):
        for schedule in SCHEDULES:
            yield Run(schedule, number, architecture, 0)
        yield Run(next(iter(SCHEDULES)), number, architecture, 1)


def _train(run: Run, images: Path, limit: int, epochs: int) -> list[float]:
    torch.set_num_threads(1)
    recipe = Recipe.model_validate(load_recipe("quick").model_dump() | dict(SCHEDULES[run.schedule]))
    training = TrainingRun(
        build(run.architecture, seed=run.seed), _splits(images, limit), recipe, epochs, seed=run.seed
    )
    curve = []
    while not training.finished:
        training.train_epoch()
        curve.append(training.evaluate().top1)
    return curve


@cache
def _splits(images: Path, limit: int) -> Splits:
    return search_splits(DataConfig(name="imagefolder", root=images, limit=limit, validation=1 / 3, image_size=32))


def _report(schedule: str, curves: np.ndarray) -> None:
    final = curves[:, -1]
    print(f"\n{schedule}: mean final accuracy {final.mean():.4f}, from {final.min():.4f} to {final.max():.4f}")
    for rung in RUNGS:
        at_rung = curves[:, rung - 1]
        kept = np.argsort(-at_rung, kind="stable")[: max(1, len(final) // 3)]
        regret = 100 * (final.max() - final[kept].max())
        print(f"  epoch {rung}: {_correlation(at_rung, final)}, regret {regret:.2f} points")


def _correlation(first: Sequence[float], second: Sequence[float]) -> str:
    pairs = np.array([first, second])
    rng = np.random.default_rng(0)
    draws = rng.integers(0, pairs.shape[1], (BOOTSTRAPS, pairs.shape[1]))
    low, high = np.nanquantile([stats.spearmanr(*pairs[:, draw]).statistic for draw in draws], [0.05, 0.95])
    return f"rank correlation {stats.spearmanr(*pairs).statistic:+.2f} ({low:+.2f} to {high:+.2f})"


def _read(file: Path) -> dict[tuple[str, str, int], list[float]]:
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {(line["schedule"], line["architecture"], line["seed"]): line["curve"] for line in lines}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rank correlation of rung accuracy with final accuracy.")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--architectures", type=int, default=24)
    parser.add_argument("--limit", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("rung_ranking.jsonl"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
