"""The actor that trains one trial after another, an epoch a step, and can go on where another actor stopped."""

import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray.tune import Trainable

from nas.objectives import Objective
from results import remote
from search_space.architecture import Architecture, Backbone
from search_space.building import build
from search_space.errors import InputError, first_line
from search_space.import_paths import import_object
from search_space.latency import measure_latency
from search_space.weights import Weights
from trainers import checkpoint
from trainers.checkpoint_layout import folders
from trainers.data.splits import Splits
from trainers.heap import keep_freed_memory
from trainers.recipe import Recipe
from trainers.run import TrainingRun

_MOST_CLASSES = 100
"""Up to so many classes, the accuracy on each is part of what a trial reports at its end."""


@dataclass(frozen=True)
class Job:
    """What all trials of a study have in common.

    Attributes:
        scores_every_epoch: whether the held-out images score every epoch, or the last alone.
        checkpoint_every_s: within an epoch that lasts longer, there is a checkpoint so often.
    """

    data: Splits
    weights: Mapping[Backbone, Weights]
    recipe: Recipe
    epochs: int
    threads: int
    device: str
    objectives: Sequence[Objective]
    scores_every_epoch: bool
    checkpoint_every_s: float


class TrialActor(Trainable):
    """Trains architectures. Everything of a trial is in its checkpoints, so any actor can take it over."""

    def setup(self, config: dict[str, Any], job: Job) -> None:  # type: ignore[override]
        """Takes the first trial; building its network waits for the first step, where failures are told."""
        torch.set_num_threads(job.threads)
        keep_freed_memory()
        torch.backends.cudnn.benchmark = True  # the sizes of a trial's maps do not change
        self._job = job
        self._data: Splits | None = None
        self._run: TrainingRun | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial in the same process."""
        self._leave()
        self.config = new_config
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch more, or what an earlier actor had reached.

        A failure of the trial is a result with its reason: the actor is sound and takes the next trial.
        """
        try:
            if self._run is None:
                self._run = self._start()
                self._checkpoints.restore(self._run)
                if self._run.epoch > 0:
                    return self._report(self._run)
            self._train_an_epoch(self._run)
        except _HaltError as error:  # no fault of the trial's, and the next ones would meet it as well
            self._forget_the_network()
            return {"halt_reason": str(error), "history": []}
        except Exception as error:
            self._forget_the_network()
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            return {"fail_reason": reason, "traceback": traceback.format_exc(), "history": []}
        return self._report(self._run)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing for Ray to keep: each epoch has been saved in the trial's own folder."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: the first step restores from the trial's own folder."""

    def cleanup(self) -> None:
        """The actor's end."""
        self._leave()

    def _take(self, config: Mapping[str, Any]) -> None:
        place = config["checkpoint"]
        self._checkpoints = _RemoteCheckpoints(place) if remote.is_remote(place) else _Checkpoints(Path(place))
        self._latency: float | None = config["latency"]

    def _leave(self) -> None:
        self._forget_the_network()
        self._checkpoints.close()

    def _forget_the_network(self) -> None:
        """Lets go of the network's memory, which after a lack of memory is what the next trial needs."""
        self._run = None
        if self._job.recipe.compile:
            torch.compiler.reset()  # lets go of the network's kernels
        if self._job.device == "cuda":
            torch.cuda.empty_cache()

    def _train_an_epoch(self, run: TrainingRun) -> None:
        saved = time.monotonic()

        def save_now_and_then() -> None:
            nonlocal saved
            if time.monotonic() - saved > self._job.checkpoint_every_s:
                self._checkpoints.save(run)
                saved = time.monotonic()

        try:
            run.train_epoch(save_now_and_then)
            if self._job.scores_every_epoch or run.finished:
                run.evaluate()
        except InputError as error:  # an image that cannot be read
            raise _HaltError(str(error)) from error
        self._checkpoints.save(run)

    def _start(self) -> TrainingRun:
        job = self._job
        architecture = Architecture.from_dict(json.loads(self.config["architecture"]))
        seed = self.config["seed"]
        network = build(architecture, seed=seed, weights=job.weights.get(architecture.backbone))
        if self._latency is None and any(objective.source == "timed" for objective in job.objectives):
            size = architecture.backbone.input_size
            self._latency = measure_latency(network, size, device=job.device).median
        metrics = {
            objective.name: import_object("objective", objective.function)
            for objective in job.objectives
            if objective.source == "measured" and objective.function is not None
        }
        data = self._data_on_the_device()
        return TrainingRun(network, data, job.recipe, job.epochs, seed=seed, device=job.device, metrics=metrics)

    def _data_on_the_device(self) -> Splits:
        """Moved there once for all trials."""
        if self._data is None:
            try:
                self._data = self._job.data.to(self._job.device)
            except torch.OutOfMemoryError as error:
                raise _HaltError(
                    "the images do not fit into the GPU's memory: set data.stream: true for images in files, a smaller "
                    f"data.limit, or more of a GPU for a trial by resources.gpus_per_trial ({first_line(error)})"
                ) from error
        return self._data

    def _report(self, run: TrainingRun) -> dict[str, Any]:
        # As a list, which Ray leaves alone where it would flatten a dictionary.
        history = [_measured(entry) for entry in run.curve]
        images = self._data_on_the_device()
        return {
            "history": history,
            "latency": self._latency,
            "left_out": [*images.train.left_out(), *images.held_out.left_out()],
            "class_accuracies": _class_accuracies(run),
        }


def _class_accuracies(run: TrainingRun) -> list[float | None]:
    return list(run.class_accuracies) if run.finished and len(run.class_accuracies) <= _MOST_CLASSES else []


def _measured(entry: Mapping[str, Any]) -> dict[str, float]:
    kept = {"top1": "accuracy"} | {name: name for name in entry if name not in ("epoch", "train_loss", "top1")}
    return {new: entry[old] for old, new in kept.items() if entry.get(old) is not None}


class _HaltError(Exception):
    """Something that all trials need is not to be had."""


@contextmanager
def _reaching(place: str | Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _HaltError(f"no checkpoint can be {what} {place}: {error}") from error


class _Checkpoints:
    """A trial's checkpoints in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def restore(self, run: TrainingRun) -> None:
        with _reaching(self._folder, "read from"):
            checkpoint.restore(run, self._folder)

    def save(self, run: TrainingRun) -> Path:
        with _reaching(self._folder, "written to"):
            return checkpoint.save(run, self._folder)

    def close(self) -> None:
        """Nothing to let go of."""


class _RemoteCheckpoints(_Checkpoints):
    """A trial's checkpoints at a URL, with a folder of the same on this machine for the time of the trial."""

    def __init__(self, url: str) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="senas-checkpoints-")))
        self._url = url

    def restore(self, run: TrainingRun) -> None:
        with _reaching(self._url, "read from"):
            remote.download(self._url, self._folder)
        found = folders(self._folder)
        super().restore(run)
        with _reaching(self._url, "written to"):
            for damaged in found:
                if not damaged.exists():
                    remote.remove(remote.join(self._url, damaged.name))

    def save(self, run: TrainingRun) -> Path:
        """Uploads the new checkpoint before older ones are removed, so that there always is a whole one."""
        saved = super().save(run)
        oldest = folders(self._folder)[-1].name
        with _reaching(self._url, "written to"):
            remote.upload(saved, remote.join(self._url, saved.name))
            for name in remote.names(self._url):
                if name < oldest:  # newer ones are those of another actor, which has taken the trial over
                    remote.remove(remote.join(self._url, name))
        return saved

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
