"""A trial as files that anyone can load: architecture.yaml, model.safetensors, metadata.json and README.md."""

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from results import remote
from results.files import ARCHITECTURE, CHECKSUMMED, METADATA, README, WEIGHTS, sha256
from results.loading import build_with_weights
from results.records import TrialRecord
from results.study import Study
from search_space.architecture import Architecture
from search_space.errors import InputError

_EPOCH_FOLDER = re.compile(r"epoch-(\d+)")

_README_TEXT = """\
# {backbone} {id}

Trial {number} of the study "{study}", {state} after {epochs} epochs{accuracy}.
It takes {flops} multiply-adds an image and has {params} parameters.

```python
import results  # of the distribution senas

model = results.load({directory})  # a torch.nn.Module in eval mode, on the CPU
```

The model takes batches of images of {input_size} (channels, height, width) and gives {classes} logits for each. The
pixels are normalised as in training: `(pixel - mean) / std` for pixels from 0 to 255, with the figures that
`{metadata_file}` has under `normalisation`.

- `{architecture_file}` lists the sites that have a Squeeze-and-Excitation block, with its position and widths.
  `senas cost {architecture_file}` tells what they cost.
- `{weights_file}` holds the weights, by the names of the model's state dict.
- `{metadata_file}` says where all this comes from, and holds the files' checksums.
"""


def export(
    study: Study,
    trial: TrialRecord,
    directory: str | Path,
    *,
    force: bool = False,
    allow_pruned: bool = False,
) -> Path:
    """Writes a trial's architecture and weights to a directory, whole or not at all.

    Args:
        study: the trial's study.
        trial: a COMPLETE trial.
        directory: made with its parents; empty if it exists.
        force: replace an earlier export in that directory.
        allow_pruned: accept a PRUNED trial as well, with the weights it had when it was stopped.

    Returns:
        The absolute path of the directory.

    Raises:
        InputError: the trial or the directory will not do, or the checkpoint is missing or does not fit.
        OSError: the files cannot be written.
    """
    _check_state(trial, allow_pruned)
    architecture = trial.architecture
    if architecture is None:
        raise InputError(f"trial {trial.number} of study '{study.name}' has no architecture to export")
    target = Path(directory).resolve()
    _check_target(target, force)
    with _newest_weights(trial) as weights:
        build_with_weights(architecture, weights)  # what cannot be loaded is not exported
        metadata = _metadata(study, trial, architecture)
        readme = _readme(target.name, study, trial, architecture)

        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        unfinished.mkdir()
        try:
            _write_files(unfinished, weights, architecture.to_yaml(), metadata, readme)
            _put_in_place(unfinished, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _check_state(trial: TrialRecord, allow_pruned: bool) -> None:
    if trial.state == "PRUNED" and not allow_pruned:
        raise InputError(
            f"trial {trial.number} is PRUNED: it was stopped after {trial.epochs} epochs, so its weights are half "
            "trained; choose a COMPLETE trial, or allow pruned ones"
        )
    if trial.state not in ("COMPLETE", "PRUNED"):
        raise InputError(f"trial {trial.number} is {trial.state}: choose a COMPLETE trial")


def _check_target(target: Path, force: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file: name a directory")
    if not any(target.iterdir()):
        return
    if not force:
        raise InputError(f"{target} is not empty: name another directory, or force it to be replaced")
    if not all((target / name).is_file() for name in (ARCHITECTURE, METADATA)):
        raise InputError(f"{target} holds something else than an export, so it is not replaced: name another")


@contextmanager
def _newest_weights(trial: TrialRecord) -> Iterator[Path]:
    """The weights after the trial's last epoch; earlier ones would not have the accuracy that it is known by."""
    if trial.checkpoint is None:
        raise InputError(f"trial {trial.number} has no checkpoint in the study DB, so there are no weights to export")
    if not remote.is_remote(trial.checkpoint):
        folder = Path(trial.checkpoint)
        if not folder.is_dir():
            raise InputError(f"the checkpoint of trial {trial.number} is gone: there is no directory {folder}")
        yield _weights_in(folder / _newest_epoch(trial, [path.name for path in folder.iterdir()]), trial)
        return
    name = _newest_epoch(trial, remote.names(trial.checkpoint))
    with tempfile.TemporaryDirectory(prefix="senas-") as scratch:
        remote.download(remote.join(trial.checkpoint, name), Path(scratch))
        yield _weights_in(Path(scratch), trial)


def _newest_epoch(trial: TrialRecord, names: list[str]) -> str:
    epochs = {int(match[1]): name for name in names if (match := _EPOCH_FOLDER.fullmatch(name))}
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


def _write_files(folder: Path, weights: Path, architecture: str, metadata: dict[str, Any], readme: str) -> None:
    shutil.copyfile(weights, folder / WEIGHTS)
    (folder / ARCHITECTURE).write_text(architecture, encoding="utf-8")
    (folder / README).write_text(readme, encoding="utf-8")
    sums = {name: sha256(folder / name) for name in CHECKSUMMED}
    (folder / METADATA).write_text(json.dumps(metadata | {"sha256": sums}, indent=2) + "\n", encoding="utf-8")


def _metadata(study: Study, trial: TrialRecord, architecture: Architecture) -> dict[str, Any]:
    normalisation = study.user_attrs.get("normalisation")
    return {
        "study": study.name,
        "trial": trial.number,
        "state": trial.state,
        "architecture_id": architecture.id,
        "objectives": dict(trial.objectives),
        "flops": trial.flops,
        "params": trial.params,
        "epochs": trial.epochs,
        "data": (study.config or {}).get("data"),
        "config": study.config,
        **({} if normalisation is None else {"normalisation": normalisation}),
        "versions": (study.user_attrs.get("runs") or [{}])[-1].get("versions"),
        "senas": _senas_version(),
    }


def _readme(name: str, study: Study, trial: TrialRecord, architecture: Architecture) -> str:
    return _README_TEXT.format(
        backbone=architecture.backbone.name,
        id=architecture.id,
        number=trial.number,
        study=study.name,
        state=trial.state,
        epochs=trial.epochs,
        accuracy="" if trial.accuracy is None else f", {trial.accuracy:.2%} top-1 on the {study.scored_by} images",
        flops=_grouped(trial.flops),
        params=_grouped(trial.params),
        directory=json.dumps(name, ensure_ascii=False),
        input_size=" x ".join(map(str, architecture.backbone.input_size)),
        classes=architecture.backbone.num_classes,
        architecture_file=ARCHITECTURE,
        weights_file=WEIGHTS,
        metadata_file=METADATA,
    )


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


def _senas_version() -> str | None:
    """None if senas runs from a checkout that is not installed."""
    try:
        return version("senas")
    except PackageNotFoundError:
        return None


def _grouped(count: int | None) -> str:
    return "an unknown number of" if count is None else f"{count:,}"
