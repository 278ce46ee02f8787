"""The study DB as the driver writes it: the only writer, and the only state of a search.

What is written is an ordinary Optuna study with the objectives accuracy and FLOPs. States mean what they say:
COMPLETE is a trial trained for the full budget, PRUNED one that ASHA stopped (its curve kept as intermediate
values, no final value), FAIL one that broke (with its reason), RUNNING one that is to go on.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.config import Config
from results.database import parse_url, shown
from search_space.architecture import Architecture
from search_space.costs import Cost
from search_space.errors import InputError, first_line

OBJECTIVES = ("accuracy", "flops")
DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")
_RECORDED_VERSIONS = ("senas", "torch", "torchvision", "ray", "optuna", "sqlalchemy")


@dataclass(frozen=True)
class Candidate:
    """An architecture about to be tried: what it costs, and the parameters that proposed it.

    A baseline that the space does not contain has no parameters.
    """

    architecture: Architecture
    cost: Cost
    parameters: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    baseline: str | None = None


class StudyRecord:
    """One study, open for writing. Trials are addressed by their number."""

    def __init__(self, storage: BaseStorage, study_id: int, checkpoints: Path) -> None:
        self._storage = storage
        self._study_id = study_id
        self._checkpoints = checkpoints
        self._ids: dict[int, int] = {}
        self._epochs_written: dict[int, int] = {}

    @classmethod
    def open(cls, url: str, config: Config, *, normalisation: Mapping[str, Any]) -> "StudyRecord":
        """The study of a configuration, begun if it does not exist.

        ``normalisation`` is that of the training images, which whoever uses an export has to apply too.

        Raises:
            InputError: the DB cannot be opened, or it holds a study of that name that is not senas's, or one
                that another configuration began; the message shows the difference.
        """
        storage = _open_storage(url)
        known = {study.study_name: study for study in storage.get_all_studies()}
        if config.study in known:
            study_id = known[config.study]._study_id
            _check_that_it_goes_on(config, storage.get_study_user_attrs(study_id))
        else:
            study = optuna.create_study(study_name=config.study, storage=storage, directions=list(DIRECTIONS))
            with warnings.catch_warnings():
                # "Experimental" since Optuna 3.2, and the only way to name objectives.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(OBJECTIVES))
            study_id = study._study_id
            storage.set_study_user_attr(study_id, "epochs", config.search.epochs)
            storage.set_study_user_attr(study_id, "versions", {name: version(name) for name in _RECORDED_VERSIONS})
        storage.set_study_user_attr(study_id, "normalisation", dict(normalisation))
        storage.set_study_user_attr(study_id, "config", config.to_dict())
        attributes = storage.get_study_user_attrs(study_id)
        if "checkpoints" not in attributes:
            storage.set_study_user_attr(study_id, "checkpoints", str(_unused_folder(config.folder / "checkpoints")))
            attributes = storage.get_study_user_attrs(study_id)
        return cls(storage, study_id, Path(attributes["checkpoints"]))

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as they are in the DB now."""
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        for trial in trials:
            self._ids[trial.number] = trial._trial_id
            self._epochs_written[trial.number] = len(trial.intermediate_values)
        return trials

    def start(self, candidate: Candidate) -> int:
        """Records a trial as RUNNING and returns its number."""
        attributes = {
            "architecture": candidate.architecture.to_dict(),
            "architecture_id": candidate.architecture.id,
            "flops": candidate.cost.flops,
            "params": candidate.cost.params,
        }
        if candidate.baseline is not None:
            attributes["baseline"] = candidate.baseline
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(candidate.parameters),
            distributions=dict(candidate.distributions),
            user_attrs=attributes,
        )
        trial_id = self._storage.create_new_trial(self._study_id, template_trial=template)
        number = self._storage.get_trial_number_from_id(trial_id)
        self._ids[number] = trial_id
        self._epochs_written[number] = 0
        # The number is the DB's to give, so the folder's name can only follow it.
        self._storage.set_trial_user_attr(trial_id, "checkpoint", str(self.checkpoint_folder(number)))
        return number

    def checkpoint_folder(self, number: int) -> Path:
        """Where the checkpoints of a trial lie."""
        return self._checkpoints / f"trial-{number:05d}"

    def write_curve(self, number: int, accuracies: Sequence[float]) -> None:
        """Records the accuracy after each epoch; epochs that were recorded before are left as they are."""
        for epoch in range(self._epochs_written[number] + 1, len(accuracies) + 1):
            self._storage.set_trial_intermediate_value(self._ids[number], epoch, accuracies[epoch - 1])
            self._epochs_written[number] = epoch

    def complete(self, number: int, values: Sequence[float], metrics: Mapping[str, Any]) -> None:
        """Ends a trial that used its full budget; ``values`` are those of the objectives, in their order."""
        self._storage.set_trial_user_attr(self._ids[number], "metrics", dict(metrics))
        self._storage.set_trial_state_values(self._ids[number], TrialState.COMPLETE, values)

    def prune(self, number: int, metrics: Mapping[str, Any]) -> None:
        """Ends a trial that ASHA stopped. It has a curve and no values, so it cannot pass for a finished one."""
        self._storage.set_trial_user_attr(self._ids[number], "metrics", dict(metrics))
        self._storage.set_trial_state_values(self._ids[number], TrialState.PRUNED)

    def fail(self, number: int, reason: str, traceback: str | None = None) -> None:
        """Ends a trial that broke, with the reason in one line and the traceback where there is one."""
        self._storage.set_trial_user_attr(self._ids[number], "fail_reason", reason)
        if traceback is not None:
            self._storage.set_trial_user_attr(self._ids[number], "traceback", traceback)
        self._storage.set_trial_state_values(self._ids[number], TrialState.FAIL)


def _open_storage(url: str) -> BaseStorage:
    address = parse_url(url)
    try:
        _check_folder(address)
        # Optuna tells of its schema's creation at INFO; what a user has to know, we say.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return get_storage(RDBStorage(url))
    except ImportError as error:
        raise InputError(f"the database of {shown(address)} needs a driver: {error}") from error
    except (sa.exc.SQLAlchemyError, RuntimeError, optuna.exceptions.OptunaError) as error:
        reason = getattr(error, "orig", None) or error.__cause__ or error
        raise InputError(f"cannot open the study DB {shown(address)}: {first_line(reason)}") from error


def _unused_folder(wanted: Path) -> Path:
    """The folder wanted, or a numbered one beside it: another study's checkpoints are no start for this one's."""
    numbered = (wanted.with_name(f"{wanted.name}-{number}") for number in count(2))
    return next(folder for folder in chain([wanted], numbered) if not folder.exists())


def _check_folder(address: sa.URL) -> None:
    if address.get_backend_name() == "sqlite" and address.database not in (None, "", ":memory:"):
        file = Path(str(address.database))
        if not file.absolute().parent.is_dir():
            raise InputError(f"the study DB {file} cannot be made: there is no folder {file.absolute().parent}")
        if file.is_dir():
            raise InputError(f"the study DB {file} is a folder: name a file")


def _check_that_it_goes_on(config: Config, attributes: Mapping[str, Any]) -> None:
    """Refuses to mix two configurations in one study."""
    if "config" not in attributes:
        raise InputError(f"study '{config.study}' was not made by senas: choose another name with --study")
    before, now = Config.model_validate(attributes["config"]).identity(), config.identity()
    changed = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
    if changed:
        raise InputError(
            f"study '{config.study}' was begun with {_listed(before, changed)}, not {_listed(now, changed)}: "
            "undo the change, or begin another study with --study"
        )


def _listed(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    return ", ".join(f"{key} = {values.get(key)}" for key in sorted(keys))
