"""How long a report of a thousand trials takes, and how large the page is.

    python benchmarks/report.py [--trials 1000] [--rounds 5]

The study is a search of ResNet-20's SE placements for CIFAR-10 over 81 epochs, in virtual time (`nas/simulator.py`):
real proposals and real ASHA, on curves that are drawn; every fiftieth architecture fails. Timed is `senas report` as a
whole process, start-up, analysis and the drawing of the best included.

Measured on 2026-11-22 with Python 3.11.7 on 2 cores of an AMD EPYC that had nothing else to do (``--rounds 5``):
7.7 s in the median (7.4 to 9.4), 1.9 MB.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import InMemoryStorage, RDBStorage
from sqlalchemy import event

from nas.config import load_config
from nas.simulator import Curves, simulate
from search_space import Architecture

CONFIG = Path(__file__).parents[1] / "configs" / "cifar10-resnet20.yaml"
STUDY = "simulated"
EPOCHS = 81
IMAGES = 5000
WORKERS = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the study, reports it several times and prints the times and the size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder that the study DB and the page are left in")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        url = f"sqlite:///{folder / 'simulated.db'}"
        states = make_study(url, asked.trials)
        page = folder / "report.html"
        seconds = [report(url, page) for _ in range(asked.rounds)]
        print(f"{asked.trials} trials ({', '.join(f'{count} {state}' for state, count in states.items())})")
        print(f"report  {statistics.median(seconds):.1f} s (from {min(seconds):.1f} to {max(seconds):.1f})")
        print(f"page    {page.stat().st_size / 1e6:.1f} MB")


def make_study(url: str, trials: int) -> dict[str, int]:
    """Searches in virtual time, in memory, and copies the study to a DB. How many trials it has, by state."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = [f"search.trials={trials}", "search.sampler=random"]
    memory = InMemoryStorage()
    found = simulate(
        load_config(CONFIG, chosen, study=STUDY), Curves(curve, lambda _: 60.0), workers=WORKERS, storage=memory
    )
    storage = RDBStorage(url)
    event.listen(storage.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    storage.engine.dispose()
    optuna.copy_study(from_study_name=STUDY, from_storage=memory, to_storage=storage)
    return dict(found.states)


def curve(architecture: Architecture) -> list[dict[str, float]]:
    """A power law to an end that blocks improve, with each architecture's own luck, as counts of images."""
    luck = random.Random(architecture.id)
    effects = sum(random.Random(f"{name} {se.position}").uniform(-0.001, 0.003) for name, se in architecture.sites)
    end, steep = 0.91 + effects + luck.gauss(0, 0.003), luck.uniform(0.6, 1.0)
    epochs = EPOCHS // 3 if luck.random() < 0.02 else EPOCHS
    accuracies = [end - 0.5 * epoch**-steep + luck.gauss(0, 0.004) for epoch in range(1, epochs + 1)]
    return [{"accuracy": round(accuracy * IMAGES) / IMAGES} for accuracy in accuracies]


def report(url: str, page: Path) -> float:
    """Seconds of one `senas report`."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "nas", "report", STUDY, "-o", str(page), "--storage", url]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=page.parent, env=os.environ)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
