"""How long the questions to a study DB take as whole processes, beside Optuna's ``Study.trials_dataframe``.

    python benchmarks/queries.py [--trials 10000] [--epochs 9] [--repeats 7] [--storage URL] [--only WORD]

The study is one of ResNet-20 with SE at any of its nine sites: 20 parameters a trial, an accuracy after each epoch,
half of the trials complete, most others pruned. Its rows are inserted in bulk, through the tables of Optuna's own
models. Each question is a process of its own, its start included; they take turns, so that what else the machine does
meets them alike. Their output goes to a file that is thrown away. Optuna's process imports it, loads the study and
makes the frame, and does nothing with it.

Measured on 2026-11-22 with Python 3.11.7, SQLAlchemy 2.1.9 and Optuna 5.0.0 on 2 cores of an AMD EPYC that had nothing
else to do (``--repeats 7``), in seconds, and as a share of the time of Optuna's frame:

    --help                       0.07 (0.06 to 0.08)     0.01
    studies                      0.44 (0.39 to 0.56)     0.03
    show                         0.99 (0.93 to 1.22)     0.07
    pareto                       0.98 (0.95 to 1.02)     0.07
    table                        0.46 (0.42 to 0.49)     0.03
    table, filtered and sorted   0.53 (0.49 to 0.56)     0.04
    on the front                 0.38 (0.34 to 0.41)     0.03
    json                         1.32 (1.30 to 1.38)     0.10
    json, filtered               0.45 (0.40 to 0.49)     0.03
    csv                          1.18 (1.10 to 1.25)     0.09
    parquet                      1.45 (1.40 to 2.07)     0.10
    Optuna's trials_dataframe   13.85 (13.46 to 14.33)   1.00
"""

import argparse
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection

from search_space.architecture import SE, Architecture
from search_space.backbones import resolve

STUDY = "benchmark"
SITES = tuple(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3))
POSITIONS = ("none", "standard", "pre", "post", "identity")
RATIOS = (2, 4, 8, 16)
STATES = ("COMPLETE", "PRUNED", "COMPLETE", "PRUNED", "FAIL", "COMPLETE", "PRUNED", "PRUNED", "COMPLETE", "COMPLETE")
BATCH = 1000

QUESTIONS: dict[str, Sequence[str]] = {
    "--help": ("--help",),
    "studies": ("studies",),
    "show": ("show", STUDY, "--json"),
    "pareto": ("pareto", STUDY, "--json"),
    "table": ("trials", STUDY),
    "table, filtered and sorted": (
        *("trials", STUDY, "--sort=-accuracy", "--where"),
        "accuracy > 0.9 and flops < 41.1e6 and layer3.position == 'pre' and layer1.0.ratio <= 8",
    ),
    "on the front": ("trials", STUDY, "--where", "is_pareto", "--json"),
    "json": ("trials", STUDY, "--json"),
    "json, filtered": ("trials", STUDY, "--json", "--where", "epochs >= 3 and architecture_id like 'a%'"),
    "csv": ("trials", STUDY, "--format", "csv"),
    "parquet": ("trials", STUDY, "-o", "trials.parquet"),
}

THEIRS = "Optuna's trials_dataframe"
OPTUNA = """
import sys, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
optuna.load_study(storage=sys.argv[1], study_name=sys.argv[2]).trials_dataframe()
"""


def main() -> None:
    """Makes the DB, asks every question several times and prints a table."""
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        url = options.storage or f"sqlite:///{scratch}/studies.db"
        began = time.perf_counter()
        fill(url, options.trials, options.epochs)
        made = time.perf_counter() - began
        senas = [sys.executable, "-m", "nas"]
        commands = {name: [*senas, *words] for name, words in QUESTIONS.items() if options.only in name}
        commands[THEIRS] = [sys.executable, "-W", "ignore", "-c", OPTUNA, url, STUDY]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.repeats):
            for name, command in commands.items():
                seconds[name].append(_seconds(command, url, Path(scratch)))
    _print(options, made, seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--storage", help="URL of an empty DB to use; a temporary SQLite file, if not given")
    parser.add_argument("--only", default="", help="only questions whose name has this in it")
    return parser.parse_args()


def _seconds(command: Sequence[str], url: str, scratch: Path) -> float:
    with (scratch / "out").open("wb") as stream:
        began = time.perf_counter()
        subprocess.run(command, cwd=scratch, env=os.environ | {"SENAS_STORAGE": url}, stdout=stream, check=True)
        return time.perf_counter() - began


def _print(options: argparse.Namespace, made: float, seconds: dict[str, list[float]]) -> None:
    print(f"python {shlex.join(sys.argv)}")
    print(
        f"{date.today()}, Python {platform.python_version()}, SQLAlchemy {sa.__version__}, Optuna {optuna.__version__}"
    )
    print(f"{options.trials} trials of {options.epochs} epochs, made in {made:.0f} s; {options.repeats} repeats\n")
    theirs = statistics.median(seconds[THEIRS])
    width = max(map(len, seconds))
    print(f"{'question':<{width}}  {'s, median (range)':<22}  of Optuna's")
    for name, measured in seconds.items():
        median = statistics.median(measured)
        spread = f"{median:.2f} ({min(measured):.2f} to {max(measured):.2f})"
        print(f"{name:<{width}}  {spread:<22}  {median / theirs:.2f}")


def fill(url: str, trials: int, epochs: int) -> None:
    """Makes a study in an empty DB, with the rows that Optuna would write."""
    storage = RDBStorage(url)
    study = storage.create_new_study([StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE], STUDY)
    storage.set_study_system_attr(study, "study:metric_names", ["accuracy", "flops"])
    attributes = {"epochs": epochs, "checkpoints": "/runs/checkpoints", "config": {"data": {"name": "cifar10"}}}
    for key, value in attributes.items():
        storage.set_study_user_attr(study, key, value)
    generator = random.Random(0)
    numbers = iter(range(trials))
    while batch := [_rows(generator, study, number, epochs) for number in _next(numbers, BATCH)]:
        with storage.engine.begin() as connection:
            for table in batch[0]:
                rows = [row for trial in batch for row in trial[table]]
                if rows:
                    connection.execute(sa.insert(table), rows)
    storage.engine.dispose()


def _next(numbers: Iterator[int], count: int) -> list[int]:
    return [number for number, _ in zip(numbers, range(count), strict=False)]


def _rows(generator: random.Random, study: int, number: int, epochs: int) -> dict[Any, list[dict[str, Any]]]:
    """A trial's rows by table."""
    state = STATES[number % len(STATES)]
    key = {"trial_id": number + 1}
    parameters = _draw(generator)
    architecture = _architecture(parameters)
    flops = 40_000_000 + generator.randrange(1_500_000)
    done = epochs if state == "COMPLETE" else 3 if state == "PRUNED" else 1
    ceiling = generator.betavariate(8, 2)
    curve = [round(ceiling * (1 - 0.5 ** (epoch + 1)) + generator.gauss(0, 0.01), 4) for epoch in range(done)]
    attributes = {
        "architecture": architecture.to_dict(),
        "architecture_id": architecture.id,
        "flops": flops,
        "params": 270_000 + generator.randrange(20_000),
        "ending": {"state": state, "metrics": {"loss": 0.5, "top5": 0.99}},
        **({"fail_reason": "CUDA out of memory"} if state == "FAIL" else {}),
        **({"baseline": ("no SE", "standard everywhere")[number]} if number < 2 else {}),
    }
    started = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(seconds=40.123456 * number)
    values = [curve[-1], float(flops)] if state == "COMPLETE" else []
    return {
        models.TrialModel.__table__: [
            key
            | {
                "number": number,
                "study_id": study,
                "state": state,
                "datetime_start": started,
                "datetime_complete": started + timedelta(seconds=30.5 * done),
            }
        ],
        models.TrialParamModel.__table__: [
            key
            | {
                "param_name": name,
                "param_value": distribution.to_internal_repr(value),
                "distribution_json": distribution_to_json(distribution),
            }
            for name, (value, distribution) in parameters.items()
        ],
        models.TrialUserAttributeModel.__table__: [
            key | {"key": name, "value_json": json.dumps(value)} for name, value in attributes.items()
        ],
        models.TrialIntermediateValueModel.__table__: [
            key | {"step": epoch, "intermediate_value": accuracy, "intermediate_value_type": "FINITE"}
            for epoch, accuracy in enumerate(curve, start=1)
        ],
        models.TrialValueModel.__table__: [
            key | {"objective": index, "value": value, "value_type": "FINITE"} for index, value in enumerate(values)
        ],
    }


def _draw(generator: random.Random) -> dict[str, tuple[Any, BaseDistribution]]:
    """Values and distributions by parameter: positions and variants by stage, ratios by site, and two more."""
    choices: dict[str, Sequence[Any]] = {}
    for stage in ("layer1", "layer2", "layer3"):
        choices[f"{stage}.position"] = POSITIONS
        choices[f"{stage}.variant"] = ("se", "bump", "dent")
        choices[f"{stage}.squeeze"] = ("avg", "max")
    choices |= {f"{site}.ratio": RATIOS for site in SITES}
    choices |= {"excitation": ("sigmoid", "relu", "tanh"), "bias": (False, True)}
    return {name: (generator.choice(options), CategoricalDistribution(options)) for name, options in choices.items()}


def _architecture(parameters: dict[str, tuple[Any, BaseDistribution]]) -> Architecture:
    sites = []
    for site in SITES:
        stage = site.partition(".")[0]
        position, width = parameters[f"{stage}.position"][0], 64 // parameters[f"{site}.ratio"][0]
        settings = {
            "hidden": (width,),
            "squeeze": parameters[f"{stage}.squeeze"][0],
            "excitation": parameters["excitation"][0],
            "bias": parameters["bias"][0],
        }
        if position != "none":
            sites.append((site, SE(position, "se", tuple(settings.items()))))
    return Architecture(resolve("resnet20", num_classes=10, input_size=(3, 32, 32)), tuple(sites))


if __name__ == "__main__":
    main()
