"""The actor that trains one trial after another, an epoch a step, and can go on where another actor stopped."""

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray.tune import Trainable

from search_space.architecture import Architecture, Backbone
from search_space.building import build
from trainers import checkpoint
from trainers.data import Splits
from trainers.recipe import Recipe
from trainers.run import TrainingRun


@dataclass(frozen=True)
class Job:
    """What all trials of a search have in common."""

    data: Splits
    weights: Mapping[Backbone, str]
    recipe: Recipe
    epochs: int
    seed: int
    threads: int
    device: str


class TrialActor(Trainable):
    """Trains architectures. Everything of a trial is in its checkpoint folder, so any actor can take it over."""

    def setup(self, config: dict[str, Any], job: Job) -> None:  # type: ignore[override]
        """Takes the first trial; building its network waits for the first step, where failures are told."""
        torch.set_num_threads(job.threads)
        self._job = job
        self._run: TrainingRun | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial in the same process."""
        self.config = new_config
        self._run = None
        return True

    def step(self) -> dict[str, Any]:
        """One epoch more, or what an earlier actor had reached.

        A failure of the trial is a result with its reason: the actor is sound and takes the next trial.
        """
        try:
            if self._run is None:
                self._run = self._start()
                if self._run.epoch > 0:
                    return self._report(self._run)
            self._run.train_epoch()
            self._run.evaluate()
            checkpoint.save(self._run, self._folder)
            return self._report(self._run)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            curve = [] if self._run is None else [entry["top1"] for entry in self._run.curve if "top1" in entry]
            return {"done": True, "fail_reason": reason, "traceback": traceback.format_exc(), "curve": curve}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing for Ray to keep: each epoch has been saved in the trial's own folder."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: the first step restores from the trial's own folder."""

    @property
    def _folder(self) -> Path:
        return Path(self.config["checkpoint"])

    def _start(self) -> TrainingRun:
        job = self._job
        architecture = Architecture.from_dict(json.loads(self.config["architecture"]))
        network = build(architecture, seed=job.seed, weights=job.weights.get(architecture.backbone))
        run = TrainingRun(network, job.data, job.recipe, job.epochs, seed=job.seed, device=job.device)
        checkpoint.restore(run, self._folder)
        return run

    def _report(self, run: TrainingRun) -> dict[str, Any]:
        last = run.curve[-1]
        return {
            "curve": [entry["top1"] for entry in run.curve],
            "loss": last["loss"],
            "top5": last["top5"],
            "done": run.finished,
        }
