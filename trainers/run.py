"""Training one network, epoch by epoch, and scoring it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_space.errors import InputError
from trainers import optimizers
from trainers.batches import training_batches
from trainers.data.splits import Splits
from trainers.recipe import Recipe
from trainers.schedule import check_length, learning_rate
from trainers.seeds import stream_seed

Metric = Callable[[Tensor, Tensor], float]
"""A figure of (logits [N, classes], labels [N]), on the device that trains, of all held-out images at once."""

# Scoring keeps no activations for a backward pass, so this many training batches fit where one was trained.
_TRAINING_BATCHES_PER_SCORED_ONE = 4


class DivergedError(ArithmeticError):
    """The loss is not a finite number any more."""


@dataclass(frozen=True)
class Metrics:
    """What a network scores on the held-out images.

    ``top1`` and ``top5`` are the fractions, 0 to 1, of images whose label is the first, or among the first five,
    predicted. ``top5`` is None where there are five classes or fewer, as every network would have 1. ``loss`` is the
    mean cross-entropy in nats, without label smoothing.
    """

    top1: float
    top5: float | None
    loss: float


def check_recipe(recipe: Recipe, epochs: int, data: Splits) -> None:
    """Checks, before any training, that a recipe fits the length of training and the data.

    Raises:
        InputError: there are fewer training images than a batch has, or the warm-up takes all epochs.
    """
    check_length(recipe, epochs)
    if len(data.train) < recipe.batch_size:
        raise InputError(f"batch_size {recipe.batch_size} is above the {len(data.train)} training images: lower it")


class TrainingRun:
    """One network's training, from its weights as given to ``epochs`` epochs, unless it is stopped before.

    The order of the data, its augmentation and dropout are functions of (seed, epoch) alone: the same for every
    network, and for a run that was interrupted. On a CPU equal runs give equal weights, bit for bit.

    Args:
        model: maps images [N, C, H, W] to logits [N, num_classes]. It is moved to the device and trained in place.
        data: what to train on and what to score on; moved to the device once, as bytes.
        recipe: how to train.
        epochs: the full budget, over which the learning rate's schedule spans.
        seed: selects the data order, the augmentation and the dropout.
        device: where to train.
        metrics: further figures to score by, by name; they are noted in the curve.

    Raises:
        InputError: there are fewer training images than a batch has, or the warm-up takes all epochs.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Splits,
        recipe: Recipe,
        epochs: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        check_recipe(recipe, epochs, data)
        self.metrics = dict(metrics or {})
        self.recipe = recipe
        self.epochs = epochs
        self.seed = seed
        self.device = torch.device(device)
        self.normalization = data.normalization
        self.epoch = 0
        self.curve: list[dict[str, Any]] = []
        self._memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self._train = data.train.to(self.device)
        self._held_out = data.held_out.to(self.device)
        self._mean, self._std = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (self.normalization.mean, self.normalization.std)
        )
        self.model: nn.Module = model.to(self.device).to(memory_format=self._memory_format)
        self.optimizer = optimizers.build(self.model.parameters(), recipe)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps, which is full batches, in an epoch."""
        return len(self._train) // self.recipe.batch_size

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    def train_epoch(self) -> float:
        """Trains for one epoch more and gives its mean training loss.

        Raises:
            DivergedError: the loss became infinite or not a number; the message says at which step.
            RuntimeError: all epochs are done.
        """
        if self.finished:
            raise RuntimeError(f"all {self.epochs} epochs are done")
        # Losses stay on the device until the epoch's end: to look at each would make the device wait at every step.
        losses = torch.stack(self._losses_of_an_epoch()).cpu()
        self._check_that_they_are_finite(losses)
        self.epoch += 1
        loss = losses.double().mean().item()
        self.curve.append({"epoch": self.epoch, "train_loss": loss})
        return loss

    def evaluate(self) -> Metrics:
        """Scores the network, as it is now, on the held-out images, and notes it in the curve at this epoch.

        Raises:
            DivergedError: the loss, or a further metric, is infinite or not a number.
        """
        metrics, further = self._score()
        if self.curve:
            self.curve[-1] |= asdict(metrics) | further
        return metrics

    def _losses_of_an_epoch(self) -> list[Tensor]:
        self.model.train()
        first_step = self.epoch * self.steps_per_epoch
        losses = []
        # Layers such as dropout draw from the global generators, which are the caller's again afterwards.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(stream_seed(self.seed, self.epoch, "layers"))
            batches = training_batches(self._train, self.recipe, self.seed, self.epoch)
            for step, (images, labels) in enumerate(batches, start=first_step):
                losses.append(self._train_step(images, labels, step))
        return losses

    def _train_step(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.epochs, step, self.steps_per_epoch)
        loss = F.cross_entropy(self._logits(images), labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def _score(self) -> tuple[Metrics, dict[str, float]]:
        self.model.eval()
        size = _TRAINING_BATCHES_PER_SCORED_ONE * self.recipe.batch_size
        guesses = 5 if self._held_out.num_classes > 5 else 1
        hits, losses, kept = [], [], []
        batches = zip(torch.split(self._held_out.images, size), torch.split(self._held_out.labels, size), strict=True)
        for images, labels in batches:
            logits = self._logits(images)
            losses.append(F.cross_entropy(logits, labels, reduction="sum"))
            hits.append((logits.topk(guesses).indices == labels[:, None]).sum(dim=0))
            if self.metrics:
                kept.append(logits)
        count = len(self._held_out)
        loss = torch.stack(losses).cpu().double().sum().item() / count
        if not math.isfinite(loss):
            raise DivergedError(f"the held-out loss is {loss} after epoch {self.epoch} of {self.epochs}")
        by_rank = torch.stack(hits).sum(dim=0).tolist()
        metrics = Metrics(
            top1=by_rank[0] / count,
            top5=sum(by_rank) / count if guesses == 5 else None,
            loss=loss,
        )
        return metrics, {name: self._further(name, metric, kept) for name, metric in self.metrics.items()}

    def _further(self, name: str, metric: Metric, logits: list[Tensor]) -> float:
        value = float(metric(torch.cat(logits), self._held_out.labels))
        if not math.isfinite(value):
            raise DivergedError(f"{name} is {value} after epoch {self.epoch} of {self.epochs}")
        return value

    def _logits(self, images: Tensor) -> Tensor:
        normalized = images.float().sub_(self._mean).div_(self._std).contiguous(memory_format=self._memory_format)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            logits: Tensor = self.model(normalized)
        return logits.float()

    def _check_that_they_are_finite(self, losses: Tensor) -> None:
        for step, loss in enumerate(losses.tolist(), start=1):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the training loss is {loss} at epoch {self.epoch + 1} of {self.epochs}, "
                    f"step {step} of {self.steps_per_epoch}"
                )
