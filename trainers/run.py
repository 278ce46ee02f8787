"""Training one network, epoch by epoch, and scoring it."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_space.errors import InputError
from trainers import optimizers
from trainers.averaging import WeightAverage
from trainers.batches import scoring_batches, training_batches
from trainers.class_counts import ClassCounts, ClassScores
from trainers.class_weights import check_class_weights, class_weights
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
    mean cross-entropy in nats, without label smoothing and class weights. ``balanced_accuracy`` and ``macro_f1`` are
    the means over classes of :class:`trainers.class_counts.ClassScores`.
    """

    top1: float
    top5: float | None
    loss: float
    balanced_accuracy: float
    macro_f1: float


def check_recipe(recipe: Recipe, epochs: int, data: Splits) -> None:
    """Checks, before any training, that a recipe fits the length of training and the data.

    Raises:
        InputError: the schedule does not fit the epochs, there are fewer training images than a batch has, an
            augmentation takes more pixels than an image has, or the class weights are not those of the data's classes.
    """
    check_length(recipe, epochs)
    check_class_weights(recipe.class_weights, data)
    side = min(data.train.size)
    for key, name in (("crop_padding", "crop"), ("cutout_size", "cutout")):
        if name in recipe.augment and getattr(recipe, key) > side:
            raise InputError(
                f"{key} {getattr(recipe, key)} is more than the {side} pixels of an image's side: lower it"
            )
    if len(data.train) < recipe.batch_size:
        raise InputError(f"batch_size {recipe.batch_size} is above the {len(data.train)} training images: lower it")


class TrainingRun:
    """One network's training, from its weights as given to ``epochs`` epochs, unless it is stopped before.

    The order of the data, its augmentation and dropout are functions of the seed, the epoch and the step alone: the
    same for every network, and for a run that was interrupted. On a CPU equal runs give equal weights, bit for bit.

    Args:
        model: maps images [N, C, H, W] to logits [N, num_classes]. It is moved to the device and trained in place.
        data: what to train on and what to score on; moved to the device once, as bytes.
        recipe: how to train.
        epochs: the full budget, over which the learning rate's schedule spans.
        seed: selects the data order, the augmentation and the dropout.
        device: where to train.
        metrics: further figures to score by, by name; they are noted in the curve, in the place of those of
            :class:`Metrics` that have the same name.

    Attributes:
        epoch: how many are done.
        step: optimizer steps done of the epoch under way.
        curve: an entry for each epoch done.
        class_accuracies: the accuracy on each class's held-out images when they last scored, in the order of labels;
            None for a class without images. Empty before they have scored.

    Raises:
        InputError: the recipe does not fit the length of training or the data.
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
        self.step = 0
        self.curve: list[dict[str, Any]] = []
        self.class_accuracies: tuple[float | None, ...] = ()
        self._losses: list[Tensor] = []
        self._memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self._train = data.train.to(self.device)
        self._held_out = data.held_out.to(self.device)
        self._mean, self._std = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (self.normalization.mean, self.normalization.std)
        )
        weights = class_weights(recipe.class_weights, data)
        self._class_weights = None if weights is None else weights.to(self.device)
        self.model: nn.Module = model.to(self.device).to(memory_format=self._memory_format)
        self.optimizer = optimizers.build(self.model, recipe)
        self.average = None if recipe.ema_decay is None else WeightAverage(self.model, recipe.ema_decay)
        # For scoring, the compiler would have to make kernels of all sizes again.
        self._trained: Callable[[Tensor], Tensor] = torch.compile(self.model) if recipe.compile else self.model

    @property
    def network(self) -> nn.Module:
        """The network that is scored and kept: of averaged weights, if the recipe averages them."""
        return self.model if self.average is None else self.average.model

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps, which is full batches, in an epoch."""
        return len(self._train) // self.recipe.batch_size

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    def train_epoch(self, after_each_step: Callable[[], None] = lambda: None) -> float:
        """Trains to the end of the epoch under way, and gives its mean training loss.

        Args:
            after_each_step: called where the run can be saved. What it raises ends the epoch there.

        Raises:
            DivergedError: the loss became infinite or not a number; the message says at which step.
            RuntimeError: all epochs are done.
        """
        if self.finished:
            raise RuntimeError(f"all {self.epochs} epochs are done")
        self.model.train()
        # Layers such as dropout draw from the global generators, which are the caller's again afterwards.
        with (
            torch.random.fork_rng([self.device] if self.device.type == "cuda" else []),
            closing(training_batches(self._train, self.recipe, self.seed, self.epoch, self.step)) as batches,
        ):
            for images, labels in batches:
                self._losses.append(self._train_step(images, labels))
                self.step += 1
                after_each_step()
        return self._end_of_the_epoch()

    def losses_so_far(self) -> list[float]:
        """The training loss of each step done of the epoch under way.

        Raises:
            DivergedError: one is infinite or not a number; the message says at which step.
        """
        losses: list[float] = torch.stack(self._losses).tolist() if self._losses else []
        for step, loss in enumerate(losses, start=1):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the training loss is {loss} at epoch {self.epoch + 1} of {self.epochs}, "
                    f"step {step} of {self.steps_per_epoch}"
                )
        return losses

    def go_on_from(self, epoch: int, step: int, curve: list[dict[str, Any]], losses: Sequence[float]) -> None:
        """Takes up the place of an interrupted run, whose weights and optimizer's state are loaded already."""
        self.epoch, self.step, self.curve = epoch, step, curve
        self._losses = list(torch.tensor(losses, device=self.device).unbind())

    def evaluate(self) -> Metrics:
        """Scores the network, as it is now, on the held-out images, and notes it in the curve at this epoch.

        Raises:
            DivergedError: the loss, or a further metric, is infinite or not a number.
        """
        metrics, scores, further = self._score()
        self.class_accuracies = scores.accuracies
        if self.curve:
            self.curve[-1] |= asdict(metrics) | further
        return metrics

    def _train_step(self, images: Tensor, labels: Tensor) -> Tensor:
        step = self.epoch * self.steps_per_epoch + self.step
        torch.manual_seed(stream_seed(self.seed, self.epoch, f"layers/{self.step}"))
        rate = learning_rate(self.recipe, self.epochs, step, self.steps_per_epoch, self._training_losses)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = F.cross_entropy(
            self._logits(self._trained, images),
            labels,
            weight=self._class_weights,
            label_smoothing=self.recipe.label_smoothing,
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model, step + 1)
        return loss.detach()

    def _end_of_the_epoch(self) -> float:
        # Losses stay on the device until here: to look at each would make the device wait at every step.
        losses = self.losses_so_far()
        loss = math.fsum(losses) / len(losses)
        self.go_on_from(self.epoch + 1, 0, [*self.curve, {"epoch": self.epoch + 1, "train_loss": loss}], ())
        return loss

    @property
    def _training_losses(self) -> list[float]:
        return [entry["train_loss"] for entry in self.curve]

    @torch.no_grad()
    def _score(self) -> tuple[Metrics, ClassScores, dict[str, float]]:
        network = self.network.eval()
        size = _TRAINING_BATCHES_PER_SCORED_ONE * self.recipe.batch_size
        guesses = 5 if self._held_out.num_classes > 5 else 1
        count, hits, losses, kept = 0, [], [], []
        by_class: ClassCounts | None = None
        for images, labels in scoring_batches(self._held_out, size):
            logits = self._logits(network, images)
            losses.append(F.cross_entropy(logits, labels, reduction="sum"))
            guessed = logits.topk(guesses).indices
            hits.append((guessed == labels[:, None]).sum(dim=0))
            by_class = by_class or ClassCounts(logits.shape[1], self.device)
            by_class.add(guessed[:, 0], labels)
            if self.metrics:
                kept.append((logits, labels))
            count += len(labels)
        if by_class is None:
            raise InputError("none of the images that score can be read: replace them")
        loss = torch.stack(losses).cpu().double().sum().item() / count
        if not math.isfinite(loss):
            raise DivergedError(f"the held-out loss is {loss} after epoch {self.epoch} of {self.epochs}")
        by_rank, scores = torch.stack(hits).sum(dim=0).tolist(), by_class.scores()
        metrics = Metrics(
            top1=by_rank[0] / count,
            top5=sum(by_rank) / count if guesses == 5 else None,
            loss=loss,
            balanced_accuracy=scores.balanced_accuracy,
            macro_f1=scores.macro_f1,
        )
        return metrics, scores, self._further_metrics(kept)

    def _further_metrics(self, kept: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        values = {}
        if kept:
            logits, labels = (torch.cat(parts) for parts in zip(*kept, strict=True))
            # A copy for each: a function of the user's that works in place changes nothing for the others.
            values = {name: float(metric(logits.clone(), labels.clone())) for name, metric in self.metrics.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise DivergedError(f"{name} is {value} after epoch {self.epoch} of {self.epochs}")
        return values

    def _logits(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        normalized = images.float().sub_(self._mean).div_(self._std).contiguous(memory_format=self._memory_format)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            logits = network(normalized)
        return logits.float()
