"""Saving a run and going on from where it was, with data only: safetensors and JSON, never pickled code.

A checkpoint appears whole or not at all, and the one before it stays, so at every moment, through a crash or a
power cut, there is one to go on from. See :mod:`trainers.checkpoint_layout` for the files.
"""

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any
from uuid import uuid4

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from search_space.errors import InputError
from trainers.checkpoint_layout import MODEL, OPTIMIZER, STATE, folder_name, folders, latest, read_state
from trainers.recipe import Recipe
from trainers.run import TrainingRun

_KEPT = 2
_UNFINISHED = ".unfinished-"
_TRAINED = "model/"
_ABANDONED_AFTER_S = 3600.0


def save(run: TrainingRun, directory: Path) -> Path:
    """Writes the checkpoint of a run, as it is now, and gives its folder; all but the newest two are deleted.

    A directory belongs to one trial, and is created if need be. Two processes may write to it, as where one was
    thought to be lost: each checkpoint is one's or the other's.

    Raises:
        DivergedError: a loss of the epoch under way is not finite, so there is nothing to go on from.
        OSError: the directory cannot be written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _clear_away_unfinished(directory)
    final = directory / folder_name(run.epoch, run.step)
    unfinished = directory / f"{_UNFINISHED}{uuid4().hex}"
    unfinished.mkdir()
    try:
        _write_files(run, unfinished)
        if final.exists():  # a damaged one, that this run was restored from before
            final.rename(directory / f"{_UNFINISHED}{uuid4().hex}")
        unfinished.rename(final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _sync_folder(directory)
    for old in folders(directory)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def restore(run: TrainingRun, directory: Path) -> int | None:
    """Brings a new run to where the newest whole checkpoint is, and gives the epochs done; None if there is none.

    Newer ones, which are damaged, are removed: the run may come to other steps, and must not be taken for behind them.
    The run then goes on as one that was never interrupted; on a CPU, bit for bit.

    Raises:
        InputError: the checkpoint is of another architecture, recipe, seed or number of epochs.
    """
    folder = latest(directory)
    for damaged in takewhile(lambda newer: newer != folder, folders(directory)):
        shutil.rmtree(damaged, ignore_errors=True)
    if folder is None:
        return None
    state = read_state(folder)
    _check_settings(run, state["settings"], folder)
    _load_weights(run.network, safetensors.torch.load_file(folder / MODEL), folder)
    tensors = safetensors.torch.load_file(folder / OPTIMIZER)
    if run.average is not None:
        trained = {name.removeprefix(_TRAINED): tensors.pop(name) for name in list(tensors) if _is_trained(name)}
        _load_weights(run.model, trained, folder)
    run.optimizer.load_state_dict(
        {
            "state": _unflatten(run.optimizer, tensors, state["optimizer"]),
            "param_groups": run.optimizer.state_dict()["param_groups"],  # the recipe's, which is the same
        }
    )
    run.go_on_from(state["epoch"], state.get("step", 0), state["curve"], state.get("losses", ()))
    run.class_accuracies = tuple(state.get("class_accuracies", ()))
    return run.epoch


def _write_files(run: TrainingRun, folder: Path) -> None:
    tensors, scalars = _flatten(run.optimizer.state_dict()["state"])
    if run.average is not None:  # what is scored is the average, and training goes on from what was trained
        tensors |= {_TRAINED + name: value for name, value in run.model.state_dict().items()}
    contents = {
        MODEL: safetensors.torch.save(_to_cpu(run.network.state_dict())),
        OPTIMIZER: safetensors.torch.save(_to_cpu(tensors)),
    }
    state = {
        "epoch": run.epoch,
        "step": run.step,
        "losses": run.losses_so_far(),
        "curve": run.curve,
        "class_accuracies": run.class_accuracies,
        "settings": _settings(run),
        "normalization": asdict(run.normalization),
        "optimizer": scalars,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    for name, content in contents.items():
        _write(folder / name, content)
    _write(folder / STATE, json.dumps(state, indent=1).encode())
    _sync_folder(folder)


def _settings(run: TrainingRun) -> dict[str, Any]:
    return {"recipe": run.recipe.model_dump(mode="json"), "epochs": run.epochs, "seed": run.seed}


def _check_settings(run: TrainingRun, saved: dict[str, Any], folder: Path) -> None:
    ours, theirs = _flat_settings(_settings(run)), _flat_settings(saved)
    for key in ours:
        if ours[key] != theirs.get(key):
            raise InputError(f"{folder} was trained with {key} {theirs.get(key)}, not {ours[key]}: use another folder")


def _flat_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """One level of keys; a recipe from before a key existed had that key's default.

    The length of training takes the place of the one that the recipe is meant for.
    """
    recipe: dict[str, Any] = Recipe().model_dump(mode="json") | settings["recipe"]
    return recipe | {"epochs": settings["epochs"], "seed": settings["seed"]}


def _load_weights(model: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder} is of another architecture: {reason[:300]}") from error


def _flatten(state: dict[int, dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Splits an optimizer's state into tensors and plain values, each by "parameter's index/name"."""
    entries = {f"{index}/{name}": value for index, values in state.items() for name, value in values.items()}
    tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    scalars = {key: value for key, value in entries.items() if not isinstance(value, Tensor)}
    return tensors, scalars


def _is_trained(name: str) -> bool:
    return name.startswith(_TRAINED)


def _unflatten(optimizer: Optimizer, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The inverse of :func:`_flatten`, with the memory layout that the optimizer would have given each tensor."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in (tensors | scalars).items():
        index, name = key.split("/")
        laid_out = _laid_out_like(parameters[int(index)], value) if isinstance(value, Tensor) else value
        state.setdefault(int(index), {})[name] = laid_out
    return state


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    if value.shape != parameter.shape:
        return value
    return torch.empty_strided(value.shape, parameter.stride(), dtype=value.dtype).copy_(value)


def _to_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies that share no memory and are contiguous, as safetensors wants them."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _write(file: Path, data: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes renames in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear_away_unfinished(directory: Path) -> None:
    """Removes what a process left that was killed; what is younger may be in the writing."""
    for leftover in directory.glob(f"{_UNFINISHED}*"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(leftover, ignore_errors=True)
