"""Where checkpoints lie and which of them are whole; nothing here imports torch.

A run's directory holds ``epoch-0007/{model.safetensors, optimizer.safetensors, state.json}`` for its newest epochs, and
``epoch-0007-step-000120`` for so many steps into the next one. ``state.json`` has the epoch, the curve and the SHA-256
of the other two files, so that a checkpoint which was cut short is told from a whole one. The weights are those that
are scored, in plain safetensors that any program can load.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"

_FOLDER = re.compile(r"epoch-(\d{4,})(?:-step-(\d{6,}))?")


def folder_name(epoch: int, step: int = 0) -> str:
    """The name of the folder for the state after so many epochs, and steps of the next."""
    return f"epoch-{epoch:04d}-step-{step:06d}" if step else f"epoch-{epoch:04d}"


def folders(directory: Path) -> list[Path]:
    """The checkpoints of a run, newest first, whole or not; none if the directory does not exist."""
    if not directory.is_dir():
        return []
    matches = [(_FOLDER.fullmatch(path.name), path) for path in directory.iterdir()]
    numbered = [(int(match[1]), int(match[2] or 0), path) for match, path in matches if match]
    return [path for _, _, path in sorted(numbered, reverse=True)]


def latest(directory: Path) -> Path | None:
    """The folder of the newest checkpoint that is whole, or None."""
    return next((folder for folder in folders(directory) if is_whole(folder)), None)


def is_whole(folder: Path) -> bool:
    """Whether the files of a checkpoint are all there, as they were written."""
    try:
        digests = read_state(folder)["sha256"]
        return all(sha256(folder / name) == digests[name] for name in (MODEL, OPTIMIZER))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_state(folder: Path) -> dict[str, Any]:
    """What ``state.json`` says: epoch, step, curve, settings, normalization."""
    state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return state


def sha256(file: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
