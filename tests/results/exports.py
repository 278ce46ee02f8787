"""What the tests of exports have in common: a trial with a checkpoint, and its study."""

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from se_block import se_block

import results
from results import Study, TrialRecord
from results.programs import FORMATS
from results.tables import Objective
from search_space import Architecture, Backbone, build

quick_export = partial(results.export, without=tuple(FORMATS))
"""Without the programs, whose making takes seconds."""


def mixed_architecture(backbone: Backbone) -> Architecture:
    return Architecture(
        backbone, (("layer1.0", se_block("pre", (2,))), ("layer3.0", se_block("standard", (4, 2), bias=True)))
    )


def trained_network(architecture: Architecture) -> torch.nn.Module:
    """A network none of whose weights and statistics is what it starts with."""
    torch.manual_seed(0)
    model = build(architecture, seed=5)
    model(torch.randn(8, *architecture.backbone.input_size))
    return model.eval()


def trial_of(architecture: Architecture, network: torch.nn.Module, checkpoint: Path) -> TrialRecord:
    """A trial of three epochs, whose checkpoint is written."""
    for epoch, model in ((1, build(architecture)), (3, network)):
        folder = checkpoint / f"epoch-{epoch:04d}"
        folder.mkdir(parents=True)
        save_file(model.state_dict(), folder / "model.safetensors")
    return TrialRecord(
        7,
        "COMPLETE",
        accuracy=0.875,
        flops=1234567,
        params=4321,
        epochs=3,
        checkpoint=str(checkpoint),
        objectives={"accuracy": 0.875, "flops": 1234567.0},
        architecture_json=json.dumps(architecture.to_dict()),
    )


ATTRIBUTES = {
    "config": {"data": {"name": "digits"}, "recipe": {"lr": 0.1}, "search": {"seed": 4}},
    "runs": [{"versions": {"torch": "2.15"}}],
    "normalisation": {"mean": [0.5], "std": [0.25]},
}

CLASS_NAMES = ["a|b", "``` \n# x", '"quoted"', "<script>", "-dash", "élan", "\u202egnp", "x" * 250, "{0}", "\ud800"]
"""Ten names of classes, none of them easy."""


def study_of(trial: TrialRecord, name: str = "a study", attributes: Mapping[str, Any] = ATTRIBUTES) -> Study:
    return Study(
        name=name,
        user_attrs=attributes,
        objectives=(Objective("accuracy", True), Objective("flops", False)),
        records=(trial,),
    )


def sound_export(backbone: Backbone, folder: Path) -> Path:
    """An export without the programs, in a directory "best" of the folder."""
    architecture = mixed_architecture(backbone)
    trial = trial_of(architecture, trained_network(architecture), folder / "checkpoint")
    return quick_export(study_of(trial), trial, folder / "best")


def sign_again(folder: Path) -> None:
    """Makes the checksums those of the files, as someone who swaps files could."""
    metadata = json.loads((folder / "metadata.json").read_text())
    for name in metadata["sha256"]:
        if (folder / name).is_file():
            metadata["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "metadata.json").write_text(json.dumps(metadata))
