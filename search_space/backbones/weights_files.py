"""Reading a state dict from a file: safetensors or what torch.save wrote, told apart by content, never by name."""

import argparse
import pickle
import re
import types
from collections.abc import Mapping
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search_space.errors import InputError, first_line

_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
"""The keys of training checkpoints that hold a state dict, averaged weights first."""

_COMPILED = "_orig_mod."
_AVERAGE_COUNT = "n_averaged"
_LARGEST_HEADER = 100 << 20
_FEW = 8

_LFS = b"version https://git-lfs"
_OF_TORCH_SAVE = (b"PK\x03\x04", b"\x80")
_OTHERS = {
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"\x89HDF": "an HDF5 file",
    _LFS: "a Git LFS pointer: run git lfs pull",
}

_SCALAR, _ARRAY = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
_HARMLESS: list[Any] = [
    argparse.Namespace,
    types.SimpleNamespace,
    PosixPath,
    PurePosixPath,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
"""What training checkpoints hold besides tensors, such as their arguments and best accuracies. None runs code."""


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by their names, without the wrappers and prefixes of training programs.

    Of a training checkpoint it is the averaged weights, if it has them (``state_dict_ema``, ``model_ema``), else what
    is under ``state_dict``, ``model_state_dict``, ``model`` or ``net``.

    Raises:
        InputError: there is no such file, it cannot be read, or it holds no state dict.
    """
    if not file.is_file():
        what = f"{file} is a folder: name a file in it" if file.is_dir() else f"there is no weights file {file}"
        raise InputError(f"backbone.weights: {what}")
    try:
        content = _content(file)
    except InputError as error:
        raise InputError(f"weights file {file} cannot be read: {error}") from error
    except Exception as error:
        reason = first_line(error).partition(". ")[0]
        raise InputError(f"weights file {file} cannot be read: {reason}") from error
    found = _unwrapped(content)
    tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(found)[:_FEW]))
        has = f", only {keys}; one is looked for under {', '.join(_WRAPPERS)}" if keys else ""
        raise InputError(f"weights file {file} holds no state dict, which is names and their tensors{has}")
    if tensors.get(_AVERAGE_COUNT) is not None and tensors[_AVERAGE_COUNT].dim() == 0:
        del tensors[_AVERAGE_COUNT]
    return {key.replace(_COMPILED, ""): tensor for key, tensor in tensors.items()}


def without_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return a state dict without the leading names that all keys share, as far as it fits a network better so.

    Those are ``module.``, ``model.`` and the like, which training programs put before the names of a network.
    """
    best = state
    while True:
        heads = {key.partition(".")[0] for key in state}
        if len(heads) != 1 or not all("." in key for key in state):
            return best
        state = {key.partition(".")[2]: tensor for key, tensor in state.items()}
        if len(state.keys() & wanted.keys()) > len(best.keys() & wanted.keys()):
            best = state


def _content(file: Path) -> Any:
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(32)
    if not size:
        raise InputError("it is empty")
    if start.startswith(_OF_TORCH_SAVE):
        return _of_torch(file)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= min(size - 8, _LARGEST_HEADER):
        from safetensors.torch import load_file

        return load_file(file)
    other = next((f"it is {what}" for magic, what in _OTHERS.items() if start.startswith(magic)), None)
    raise InputError(other or "it is neither a safetensors file nor one that torch.save wrote")


def _of_torch(file: Path) -> Any:
    try:
        # From a stream, because of a path torch.load would look at the suffix.
        with file.open("rb") as stream, torch.serialization.safe_globals(_HARMLESS):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds {named[1]} besides tensors" if named else "is damaged, or holds other objects besides tensors"
        raise InputError(
            f"it {what}, and only tensors are loaded, because other objects could run code; write a file of the state "
            "dict alone, by torch.save(model.state_dict(), FILE)"
        ) from error


def _unwrapped(content: Any) -> Mapping[Any, Any]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    return {}
