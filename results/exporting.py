"""A trial as files that anyone can load, each of them verified before the directory appears under its name."""

import json
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from results.export_readme import readme
from results.files import (
    ARCHITECTURE,
    METADATA,
    README,
    WEIGHTS,
    check_that_it_can_be_made,
    read_architecture,
    read_metadata,
    sha256,
)
from results.loading import build_with_weights
from results.programs import FORMATS, OPSET, Network
from results.records import TrialRecord
from results.study import Study
from results.trained_weights import trained_weights
from results.verifying import ABSOLUTE, BATCH_SIZES, RELATIVE, Reference, VerificationError
from search_space.architecture import Architecture
from search_space.errors import InputError, first_line, unknown

_FILES = {ARCHITECTURE, WEIGHTS, METADATA, README, *FORMATS}
_LIBRARIES = ("senas", "torch", "safetensors", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Training:
    """What gave the weights: the trial itself, or a trial of the same architecture in another study."""

    study: Study
    trial: TrialRecord


def export(
    study: Study,
    trial: TrialRecord,
    directory: str | Path,
    *,
    retrain: Callable[[], Training] | None = None,
    without: Collection[str] = (),
    force: bool = False,
    allow_pruned: bool = False,
) -> Path:
    """Writes a trial's network to a directory, whole or not at all, every file verified.

    Args:
        study: the trial's study.
        trial: a COMPLETE trial.
        directory: made with its parents; empty if it exists.
        retrain: trains the architecture and says where; called when all else is known to be in order. Without it the
            weights are the trial's own.
        without: files to leave out, of those in :data:`results.programs.FORMATS`.
        force: replace an earlier export in that directory.
        allow_pruned: accept a PRUNED trial as well, with the weights it had when it was stopped.

    Returns:
        The absolute path of the directory.

    Raises:
        InputError: the trial or the directory will not do, the checkpoint is missing or does not fit, or a file
            cannot be made of this network.
        VerificationError: a file does not give what the network gives.
        OSError: the files cannot be written.
    """
    _check_names(without)
    architecture = _architecture(study, trial, allow_pruned)
    target = Path(directory).resolve()
    _check_target(target, force)
    training = Training(study, trial) if retrain is None else retrain()
    with trained_weights(training.trial) as weights:
        names = _class_names(training, study, architecture)
        network = Network(build_with_weights(architecture, weights), architecture, names)
        with _whole_or_not_at_all(target) as folder:
            shutil.copyfile(weights, folder / WEIGHTS)
            (folder / ARCHITECTURE).write_text(architecture.to_yaml(), encoding="utf-8")
            differences = _write_programs(network, folder, without)
            metadata = _metadata(study, trial, training, network, differences)
            (folder / README).write_text(readme(target.name, architecture, metadata), encoding="utf-8")
            sums = {file.name: sha256(file) for file in sorted(folder.iterdir())}
            (folder / METADATA).write_text(json.dumps(metadata | {"sha256": sums}, indent=2) + "\n", encoding="utf-8")
            read_metadata(folder)
    return target


def _check_names(without: Collection[str]) -> None:
    for name in without:
        if name not in FORMATS:
            raise unknown("file to leave out", name, FORMATS)


def _architecture(study: Study, trial: TrialRecord, allow_pruned: bool) -> Architecture:
    if study.config is None:
        raise InputError(
            f"study '{study.name}' was not made by senas, so it has neither networks nor their weights to export: "
            "name a study of `senas search`"
        )
    if trial.state == "PRUNED" and not allow_pruned:
        raise InputError(
            f"trial {trial.number} is PRUNED: it was stopped after {trial.epochs} epochs, so its weights are half "
            "trained; choose a COMPLETE trial, or take it with --allow-pruned"
        )
    if trial.state not in ("COMPLETE", "PRUNED"):
        raise InputError(f"trial {trial.number} is {trial.state}: choose a COMPLETE trial")
    if trial.architecture is None:
        raise InputError(f"trial {trial.number} of study '{study.name}' has no architecture to export")
    return trial.architecture


def _check_target(target: Path, force: bool) -> None:
    if not target.exists():
        check_that_it_can_be_made(target)  # before a training in full, not after it
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file: name a directory")
    if not any(target.iterdir()):
        return
    if not force:
        raise InputError(f"{target} is not empty: name another directory, or replace an export there with --force")
    strange = sorted(file.name for file in target.iterdir() if file.name not in _FILES)
    if strange or not all((target / name).is_file() for name in (ARCHITECTURE, METADATA)):
        what = f"holds {strange[0]}, which is none of an export's files" if strange else "is no export"
        raise InputError(f"{target} {what}, so it is not replaced: name another directory")


def _write_programs(network: Network, folder: Path, without: Collection[str]) -> dict[str, float]:
    """Writes the programs beside the weights, and gives the largest difference that each file's logits show."""
    reloaded = build_with_weights(read_architecture(folder), folder / WEIGHTS)
    _check_that_weights_are_equal(network.module, reloaded)
    reference = Reference(network.module, network.architecture)
    differences = {WEIGHTS: reference.largest_difference(WEIGHTS, reloaded, exact=True)}
    for name, made in FORMATS.items():
        if name in without:
            continue
        try:
            made.write(network, folder / name)
            run = made.open(folder / name)
            differences[name] = reference.largest_difference(name, run, exact=made.exact)
        except VerificationError as error:
            raise VerificationError(f"{error}; --without {name} leaves it out") from error
        except (OSError, MemoryError, ImportError):
            raise
        except Exception as error:  # of compilers that say in many ways what they cannot do
            raise InputError(
                f"no {name} can be made of this network ({type(error).__name__}: {first_line(error)}); "
                f"--without {name} leaves it out"
            ) from error
    return differences


def _check_that_weights_are_equal(network: torch.nn.Module, reloaded: torch.nn.Module) -> None:
    written = reloaded.state_dict()
    for key, tensor in network.state_dict().items():
        if not torch.equal(tensor, written[key]):
            raise VerificationError(f"{WEIGHTS} has other numbers than the checkpoint at {key}")


@contextmanager
def _whole_or_not_at_all(target: Path) -> Iterator[Path]:
    """A folder to write to, which takes the target's place when all has been written, and else is gone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    unfinished.mkdir()
    try:
        yield unfinished
        _put_in_place(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put_in_place(finished: Path, target: Path) -> None:
    """Renames a finished directory to the target, whose former content stays until that has worked."""
    if not target.exists():
        finished.rename(target)
        return
    former = finished.with_name(f"{finished.name}.former")
    target.rename(former)
    try:
        finished.rename(target)
    except OSError:
        former.rename(target)
        raise
    shutil.rmtree(former)


def _metadata(
    study: Study,
    trial: TrialRecord,
    training: Training,
    network: Network,
    differences: Mapping[str, float],
) -> dict[str, Any]:
    normalisation = training.study.user_attrs.get("normalisation")
    return {
        "study": study.name,
        "trial": trial.number,
        "state": trial.state,
        "architecture_id": network.architecture.id,
        "objectives": dict(trial.objectives),
        "flops": trial.flops,
        "params": trial.params,
        "epochs": trial.epochs,
        "weights": _where_they_come_from(training),
        "data": (study.config or {}).get("data"),
        "class_names": None if network.class_names is None else list(network.class_names),
        "config": study.config,
        **({} if normalisation is None else {"normalisation": normalisation}),
        "versions": (training.study.user_attrs.get("runs") or [{}])[-1].get("versions"),
        "exported_with": {name: _version(name) for name in _LIBRARIES},
        "onnx_opset": OPSET,
        "verified": {
            "batch_sizes": list(BATCH_SIZES),
            "tolerance": {"absolute": ABSOLUTE, "relative": RELATIVE},
            "largest_difference": dict(differences),
        },
    }


def _class_names(training: Training, study: Study, architecture: Architecture) -> tuple[str, ...] | None:
    """Return the names that the training's study recorded, or else the search's; None if they are not its classes."""
    names = training.study.class_names or study.class_names
    return names if names is not None and len(names) == architecture.backbone.num_classes else None


def _where_they_come_from(training: Training) -> dict[str, Any]:
    """Which training gave the weights, on which images, and what it scored on the others."""
    study, trial = training.study, training.trial
    config = study.config or {}
    on_all = study.scored_by == "test"
    return {
        "study": study.name,
        "trial": trial.number,
        "state": trial.state,
        "epochs": trial.epochs,
        "seed": trial.parameters.get("seed", (config.get("search") or {}).get("seed")),
        "recipe": config.get("recipe"),
        "trained_on": "training and validation images" if on_all else "training images",
        "scored_on": f"{study.scored_by} images" + (", once, after the last epoch" if on_all else ""),
        "accuracy": trial.accuracy if trial.accuracy is not None else next(iter(trial.curve[-1:]), None),
    }


def _version(library: str) -> str | None:
    """None if it is not installed, as where senas runs from a checkout."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None
