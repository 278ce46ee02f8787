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
        ({"optimizer": "adadelta", "lr": "1"}, ("recipe", "lr")),
        ({"milestones": [3, "5"], "schedule": "step"}, ("recipe", "milestones", 1)),
        ({"milestones": [3, 5.0], "schedule": "step"}, ("recipe", "milestones", 1)),
        ({"milestones": 3, "schedule": "step"}, ("recipe", "milestones")),
        ({"crop_scale": [0.1, 1.5]}, ("recipe", "crop_scale", 1)),
        ({"crop_scale": [0.1]}, ("recipe", "crop_scale", 1)),
        ({"ema_decay": 1}, ("recipe", "ema_decay")),
        ({"clip_norm": 0}, ("recipe", "clip_norm")),
        ({"compile": "yes"}, ("recipe", "compile")),
    ],
)
def test_a_mistake_is_located_by_its_key(given: dict[str, Any], location: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        Search.model_validate({"recipe": given})
    assert caught.value.errors()[0]["loc"] == location


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"milestones": [2]}, "milestones has no effect without schedule step: leave it out, or set it back to []"),
        ({"rise": 0.2}, "rise has no effect without schedule one_cycle: leave it out, or set it back to 0.3"),
        ({"patience": 2}, "patience has no effect without schedule plateau"),
        ({"crop_scale": [0.5, 1.0], "augment": ["crop"]}, "crop_scale has no effect without augment random_resized"),
        ({"cutout_size": 16}, "cutout_size has no effect without augment cutout"),
        ({"schedule": "one_cycle", "warmup_epochs": 1}, "one_cycle rises by itself: leave warmup_epochs out"),
        ({"schedule": "step", "milestones": [5, 3]}, "milestones must rise, which 5, 3 do not"),
        ({"schedule": "step", "milestones": [3, 3]}, "milestones must rise"),
        ({"schedule": "step", "milestones": [1, 3], "warmup_epochs": 2}, "milestone 1 is within the warm-up"),
        ({"crop_scale": [0.5, 0.25], "augment": ["random_resized_crop"]}, "crop_scale must rise, which 0.5, 0.25"),
        ({"augment": ["crop", "flip", "random_resized_crop"]}, "both crop and random_resized_crop: leave one out"),
    ],
)
def test_what_would_mislead_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(given)
    assert message in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "given",
    [
        {"schedule": "step", "milestones": [2, 9], "warmup_epochs": 2},
        {"schedule": "one_cycle", "rise": 0.2},
        {"schedule": "plateau", "patience": 2, "warmup_epochs": 1},
        {"augment": ["random_resized_crop", "cutout"], "crop_scale": [0.5, 0.5], "cutout_size": 4},
    ],
)
def test_what_has_its_effect_is_taken_and_survives_json(given: dict[str, Any]) -> None:
    recipe = Recipe.model_validate(given)
    assert {key: recipe.model_dump(mode="json")[key] for key in given} == given
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_recipes_of_older_studies_stay_valid() -> None:
    """They may have keys to no effect, which were never refused."""
    old = {"optimizer": "adamw", "lr": 0.01, "momentum": 0.5, "step_epochs": 3, "decay": 0.3, "crop_padding": 2}
    assert Recipe.model_validate(old).model_dump(mode="json") == Recipe().model_dump(mode="json") | old


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
