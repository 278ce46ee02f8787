import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from se_block import se_block

from search_space.architecture import Architecture, Backbone

EPOCHS = 4


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return Backbone("resnet8", 10, (1, 8, 8), options=(("width", 8),))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def new_study(url: str) -> Callable[..., optuna.Study]:
    """Makes studies in the DB at ``url``."""
    return partial(_new_study, url)


def _new_study(url: str, name: str = "a study", metrics: tuple[str, ...] = ("accuracy", "flops")) -> optuna.Study:
    study = optuna.create_study(
        storage=url,
        study_name=name,
        directions=["maximize" if metric == "accuracy" else "minimize" for metric in metrics],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    study.set_metric_names(list(metrics))
    return study


@pytest.fixture(scope="session")
def report() -> Callable[[optuna.Trial, float, int], None]:
    """Records an intermediate value, which Optuna's Trial.report refuses for several objectives."""

    def record(trial: optuna.Trial, value: float, epoch: int) -> None:
        trial.study._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)

    return record


@pytest.fixture
def searched(url: str, searched_file: Path) -> optuna.Study:
    """A study as senas leaves it: every state, baselines, equal and dominated points, a diverged curve."""
    shutil.copy(searched_file, url.removeprefix("sqlite:///"))
    return optuna.load_study(storage=url, study_name="a study")


@pytest.fixture(scope="session")
def searched_file(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone, report: Callable[..., None]) -> Path:
    file = tmp_path_factory.mktemp("searched") / "studies.db"
    study = _new_study(f"sqlite:///{file}")
    study.set_user_attr("config", {"data": {"name": "digits"}, "trials": 40})
    study.set_user_attr("epochs", EPOCHS)
    study.set_user_attr("checkpoints", "/runs")
    study.set_user_attr("runs", [{"versions": {"torch": "2.14"}}, {"versions": {"torch": "2.15"}}])
    generator = random.Random(0)
    for number in range(40):
        trial = study.ask()
        position = trial.suggest_categorical("layer1.position", ["none", "pre", "post"])
        ratio = trial.suggest_categorical("layer1.0.ratio", [2, 4, 8])
        trial.suggest_int("count", 1, 8, log=True)
        trial.suggest_float("rate", 0.0, 1.0)
        sites = () if position == "none" else (("layer1.0", se_block(position, (8 // ratio,))),)
        _describe(trial, Architecture(backbone, sites), flops=1000 + 10 * generator.randrange(8))
        if number < 2:
            trial.set_user_attr("baseline", ["no SE", "standard"][number])
        accuracy = generator.randrange(10) / 10
        for epoch in range(1, EPOCHS + 1 if number % 5 < 2 else 3):
            diverged = number == 2 and epoch == 2
            report(trial, float("nan") if diverged else accuracy * epoch / EPOCHS, epoch)
        _finish(study, trial, accuracy)
    study.enqueue_trial({"count": 3})
    return file


def _describe(trial: optuna.Trial, architecture: Architecture, flops: int) -> None:
    attributes: dict[str, Any] = {
        "architecture": architecture.to_dict(),
        "architecture_id": architecture.id,
        "flops": flops,
        "params": flops // 10,
        "ending": {"state": "COMPLETE", "metrics": {"loss": 0.5, "top5": 0.9}},
    }
    for key, value in attributes.items():
        trial.set_user_attr(key, value)


def _finish(study: optuna.Study, trial: optuna.Trial, accuracy: float) -> None:
    match trial.number % 5:
        case 0 | 1:
            study.tell(trial, [accuracy, trial.user_attrs["flops"]])
        case 2:
            study.tell(trial, state=TrialState.PRUNED)
        case 3:
            trial.set_user_attr("fail_reason", "CUDA out of memory")
            study.tell(trial, state=TrialState.FAIL)
