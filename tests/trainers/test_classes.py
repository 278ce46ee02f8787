"""Scores and weights by class, against scikit-learn and torch."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from search_space.errors import InputError
from trainers import checkpoint
from trainers.class_counts import ClassCounts
from trainers.class_weights import class_weights
from trainers.data.images import ImageSet
from trainers.data.splits import Splits
from trainers.recipe import Recipe
from trainers.run import TrainingRun

CPU = torch.device("cpu")
NAMES = ("a", "b", "c", "d", "e", "f", "g")
MakeModel = Callable[..., nn.Module]


def of_labels(labels: list[int], classes: int, names: tuple[str, ...] | None = None) -> Splits:
    images = ImageSet(torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), torch.tensor(labels), classes)
    return Splits(images, images, names)


@given(st.integers(1, 6).flatmap(lambda k: st.tuples(
    st.just(k),
    st.lists(st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), max_size=8), min_size=1, max_size=4)
    .filter(any),
)))  # fmt: skip
def test_scores_are_those_of_scikit_learn(drawn: tuple[int, list[list[tuple[int, int]]]]) -> None:
    classes, batches = drawn
    counts = ClassCounts(classes, CPU)
    for batch in batches:
        pairs = torch.tensor(batch, dtype=torch.int64).reshape(-1, 2)
        counts.add(pairs[:, 1], pairs[:, 0])
    labels, predicted = np.array([pair for batch in batches for pair in batch]).T
    scores = counts.scores()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are predicted and not there
        assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
        assert scores.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
        recalls = recall_score(labels, predicted, labels=range(classes), average=None, zero_division=np.nan)
    assert [np.nan if value is None else value for value in scores.accuracies] == pytest.approx(recalls, nan_ok=True)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_balanced_weights_are_those_of_scikit_learn(labels: list[int]) -> None:
    weights = class_weights("balanced", of_labels(labels, 6))
    assert weights is not None
    present = np.unique(labels)
    expected = np.ones(6)
    expected[present] = compute_class_weight("balanced", classes=present, y=np.array(labels))
    assert weights.tolist() == pytest.approx(expected)


WEIGHTS: dict[str, tuple[Any, list[float]]] = {
    "list": ([1, 2, 0.5, 3, 1, 0.25, 4], [1, 2, 0.5, 3, 1, 0.25, 4]),
    "names": ({"b": 2, "g": 0.5}, [1, 2, 1, 1, 1, 1, 0.5]),
    "balanced": ("balanced", [90 / (7 * count) for count in (13, 13, 13, 13, 13, 13, 12)]),
}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("how", WEIGHTS)
def test_the_training_loss_is_torchs_weighted_one(
    how: str, smoothing: float, splits: Splits, make_model: MakeModel
) -> None:
    given_weights, weights = WEIGHTS[how]
    recipe = Recipe.model_validate({"class_weights": given_weights, "label_smoothing": smoothing, "batch_size": 90})
    model = make_model(dropout=0.0)
    images, labels = splits.train.images, splits.train.labels
    mean, std = (torch.tensor(v)[:, None, None] for v in (splits.normalization.mean, splits.normalization.std))
    loss = nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=smoothing)
    expected = loss(model.train()((images.float() - mean) / std), labels).item()
    run = TrainingRun(make_model(dropout=0.0), replace(splits, class_names=NAMES), recipe, epochs=1)
    assert run.train_epoch() == pytest.approx(expected, rel=1e-5)


def test_the_loss_that_scores_is_not_weighted(splits: Splits, make_model: MakeModel) -> None:
    weighted = Recipe(class_weights=(1.0, 100.0, 1.0, 1.0, 1.0, 1.0, 0.01), batch_size=16)
    plain = TrainingRun(make_model(), splits, Recipe(batch_size=16), epochs=1)
    run = TrainingRun(make_model(), splits, weighted, epochs=1)
    assert run.evaluate() == plain.evaluate()
    assert run.train_epoch() != plain.train_epoch()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "class_weights has 2 weights, and the data has 7 classes: give one weight for each class"),
        ({"bb": 2}, "class_weights: unknown class 'bb': did you mean 'b'"),
    ],
)
def test_weights_of_other_classes_are_refused_before_training(
    weights: Any, message: str, splits: Splits, make_model: MakeModel
) -> None:
    recipe = Recipe.model_validate({"class_weights": weights, "batch_size": 16})
    with pytest.raises(InputError, match=message):
        TrainingRun(make_model(), replace(splits, class_names=NAMES), recipe, epochs=1)


def test_weights_by_name_need_names(splits: Splits, make_model: MakeModel) -> None:
    with pytest.raises(InputError, match="the classes of the data have no names: give a list"):
        TrainingRun(make_model(), splits, Recipe(class_weights={"a": 2.0}, batch_size=16), epochs=1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("balance", "must be balanced, a list of one weight for each class, or weights by class name, not 'balance'"),
        (3, "must be balanced"),
        (True, "must be balanced"),
        ([1, 0], "the weight must be a number from 1e-06 to 1e\\+06, not 0"),
        ([1, -2], "not -2"),
        ([1, float("nan")], "not nan"),
        ([1, float("inf")], "not inf"),
        ([1, "2"], "not '2'"),
        ([1, True], "not True"),
        ([1, None], "not None"),
        ({}, "no class is named"),
        ({"cat": 0}, "the weight of class 'cat' must be"),
        ({3: 2}, "3 is not the name of a class: write it in quotes, '3'"),
    ],
)
def test_what_is_no_weight_is_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({"class_weights": weights})


@pytest.mark.parametrize("weights", [None, "balanced", [1, 2.5], {"cat": 2}])
def test_weights_survive_json(weights: Any) -> None:
    recipe = Recipe.model_validate({"class_weights": weights})
    assert recipe.model_dump(mode="json")["class_weights"] == weights
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_run_scores_each_class_and_a_restored_one_knows_the_scores(
    splits: Splits, make_model: MakeModel, tmp_path: Path
) -> None:
    recipe = Recipe(batch_size=16)
    run = TrainingRun(make_model(), splits, recipe, epochs=1)
    run.train_epoch()
    metrics = run.evaluate()
    predicted = predictions(run, splits)
    labels = splits.held_out.labels.numpy()
    assert run.class_accuracies == pytest.approx(recall_score(labels, predicted, average=None, zero_division=0))
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert metrics.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    checkpoint.save(run, tmp_path)
    again = TrainingRun(make_model(seed=1), splits, recipe, epochs=1)
    checkpoint.restore(again, tmp_path)
    assert again.class_accuracies == run.class_accuracies


def predictions(run: TrainingRun, splits: Splits) -> Any:
    mean, std = (torch.tensor(v)[:, None, None] for v in (splits.normalization.mean, splits.normalization.std))
    with torch.no_grad():
        return run.model.eval()((splits.held_out.images.float() - mean) / std).argmax(1).numpy()


def test_checkpoints_from_before_there_were_weights_and_scores_by_class(
    splits: Splits, make_model: MakeModel, tmp_path: Path
) -> None:
    run = TrainingRun(make_model(), splits, Recipe(batch_size=16), epochs=2)
    run.train_epoch()
    folder = checkpoint.save(run, tmp_path)
    (file,) = folder.glob("*.json")
    state = json.loads(file.read_text())
    del state["class_accuracies"], state["settings"]["recipe"]["class_weights"]
    file.write_text(json.dumps(state))
    again = TrainingRun(make_model(), splits, Recipe(batch_size=16), epochs=2)
    assert checkpoint.restore(again, tmp_path) == 1
    assert again.class_accuracies == ()


def test_a_measure_of_ones_own_takes_the_place_of_the_known_one(splits: Splits, make_model: MakeModel) -> None:
    def own(logits: Tensor, labels: Tensor) -> float:
        return 7.0

    run = TrainingRun(make_model(), splits, Recipe(batch_size=16), epochs=1, metrics={"balanced_accuracy": own})
    run.train_epoch()
    run.evaluate()
    assert run.curve[-1]["balanced_accuracy"] == 7.0
    assert 0 <= run.curve[-1]["macro_f1"] <= 1
