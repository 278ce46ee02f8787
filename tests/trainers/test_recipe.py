from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from trainers.augment import AUGMENTATIONS
from trainers.optimizers import OPTIMIZERS
from trainers.recipe import AugmentationName, OptimizerName, Recipe, ScheduleName
from trainers.schedule import SCHEDULES


class Search(BaseModel):
    recipe: Recipe


def test_every_name_of_a_recipe_has_its_strategy() -> None:
    assert set(get_args(OptimizerName)) == set(OPTIMIZERS)
    assert set(get_args(ScheduleName)) == set(SCHEDULES)
    assert set(get_args(AugmentationName)) == set(AUGMENTATIONS)


@pytest.mark.parametrize(
    ("given", "location"),
    [
        ({"optimizer": "adm"}, ("recipe", "optimizer")),
        ({"lr": 0}, ("recipe", "lr")),
        ({"lr": "0.1"}, ("recipe", "lr")),
        ({"lr": float("nan")}, ("recipe", "lr")),
        ({"momentum": 1}, ("recipe", "momentum")),
        ({"batch_size": 0}, ("recipe", "batch_size")),
        ({"batch_size": True}, ("recipe", "batch_size")),
        ({"batch_size": 64.0}, ("recipe", "batch_size")),
        ({"augment": ["crop", "flop"]}, ("recipe", "augment", 1)),
        ({"learning_rate": 0.1}, ("recipe", "learning_rate")),
        ({"nesterov": True, "momentum": 0}, ("recipe",)),
        ({"nesterov": True, "optimizer": "adamw"}, ("recipe",)),
    ],
)
def test_a_mistake_is_located_by_its_key(given: dict[str, Any], location: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        Search.model_validate({"recipe": given})
    assert caught.value.errors()[0]["loc"] == location


def test_whole_numbers_serve_as_fractions() -> None:
    assert Recipe.model_validate({"lr": 1, "weight_decay": 0}).lr == 1.0


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("adamw", 1e-3), ("adadelta", 1.0)])
def test_an_optimizer_has_its_usual_learning_rate(optimizer: OptimizerName, lr: float) -> None:
    assert Recipe(optimizer=optimizer).lr == lr


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(optimizer="adamw", augment=("flip", "crop"), precision="bf16")
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Recipe().lr = 0.5  # type: ignore[misc]
