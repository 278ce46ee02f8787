"""How the images of each class were classified, counted batch by batch, and the scores that follow from it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassScores:
    """Scores of the predictions for K classes.

    Args:
        images: [K] images of each class.
        predicted: [K] images that were predicted to be of each class.
        hits: [K] images of each class that were predicted to be of it.
    """

    images: tuple[int, ...]
    predicted: tuple[int, ...]
    hits: tuple[int, ...]

    @cached_property
    def accuracies(self) -> tuple[float | None, ...]:
        """Return the accuracy on the images of each class (its recall), 0 to 1; None for a class without images."""
        return tuple(hits / images if images else None for hits, images in zip(self.hits, self.images, strict=True))

    @property
    def balanced_accuracy(self) -> float:
        """Return the mean accuracy over the classes that have images, as scikit-learn's balanced_accuracy_score."""
        known = [accuracy for accuracy in self.accuracies if accuracy is not None]
        return sum(known) / len(known)

    @property
    def macro_f1(self) -> float:
        """Return the mean F1 score over the classes that have images or predictions.

        It equals scikit-learn's ``f1_score(average="macro", zero_division=0)``: a class without a hit has the score 0.
        """
        scores = [
            2 * hits / (images + predicted)
            for images, predicted, hits in zip(self.images, self.predicted, self.hits, strict=True)
            if images + predicted
        ]
        return sum(scores) / len(scores)


class ClassCounts:
    """Counts images, predictions and hits of each class on the device, without waiting for it.

    Args:
        classes: number of classes.
        device: where the predictions and the labels are.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self._counts = torch.zeros(3, classes, dtype=torch.int64, device=device)

    def add(self, predicted: Tensor, labels: Tensor) -> None:
        """Count a batch.

        Args:
            predicted: [B] the class predicted for each image (int64).
            labels: [B] the class of each image (int64).
        """
        one = torch.ones_like(labels)
        hit = (predicted == labels).to(torch.int64)
        for row, (index, amount) in enumerate(((labels, one), (predicted, one), (labels, hit))):
            self._counts[row].index_add_(0, index, amount)

    def scores(self) -> ClassScores:
        """Return the scores of all batches counted so far."""
        images, predicted, hits = self._counts.tolist()
        return ClassScores(tuple(images), tuple(predicted), tuple(hits))
