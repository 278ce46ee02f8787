"""The weights that a trial ended with, from its checkpoints: in a folder, or at a URL."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results import remote
from results.checkpoint_places import EPOCH_FOLDER
from results.files import WEIGHTS
from results.records import TrialRecord
from search_space.errors import InputError


@contextmanager
def trained_weights(trial: TrialRecord) -> Iterator[Path]:
    """The weights after the trial's last epoch; earlier ones would not have the accuracy that it is known by.

    Raises:
        InputError: the trial has no checkpoint of its last epoch, or none any more.
        OSError: the checkpoints are at a URL that cannot be read.
    """
    if trial.checkpoint is None:
        raise InputError(f"trial {trial.number} has no checkpoint in the study DB, so there are no weights to export")
    if not remote.is_remote(trial.checkpoint):
        folder = Path(trial.checkpoint)
        if not folder.is_dir():
            raise InputError(
                f"the checkpoint of trial {trial.number} is gone: there is no directory {folder}: move it back, or "
                "name where its study's checkpoints are by --checkpoints DIR"
            )
        yield _weights_in(folder / _newest_epoch(trial, [path.name for path in folder.iterdir()]), trial)
        return
    name = _newest_epoch(trial, remote.names(trial.checkpoint))
    with tempfile.TemporaryDirectory(prefix="senas-") as scratch:
        remote.download(remote.join(trial.checkpoint, name), Path(scratch))
        yield _weights_in(Path(scratch), trial)


def _newest_epoch(trial: TrialRecord, names: list[str]) -> str:
    epochs = {int(match[1]): name for name in names if (match := EPOCH_FOLDER.fullmatch(name))}
    if trial.epochs not in epochs:
        newest = f"the newest is of epoch {max(epochs)}" if epochs else "there is none"
        raise InputError(
            f"trial {trial.number} has no checkpoint of its epoch {trial.epochs}: {newest} in {trial.checkpoint}"
        )
    return epochs[trial.epochs]


def _weights_in(folder: Path, trial: TrialRecord) -> Path:
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise InputError(f"the checkpoint of trial {trial.number} lacks its weights: there is no {weights}")
    return weights
