"""The recipes that come along, and how recipes are laid over each other."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from search_space.errors import InputError
from trainers import optimizers
from trainers.averaging import WeightAverage
from trainers.recipe import AugmentationName, OptimizerName, Recipe, ScheduleName
from trainers.recipes import bundled, bundled_recipe, load_recipe, recipe_values, stretched
from trainers.recipes.__main__ import PAGE, with_table
from trainers.schedule import check_length, learning_rate

WHOLE = [recipe.name for recipe in bundled().values() if recipe.is_whole]
OVERLAYS = sorted(bundled().keys() - set(WHOLE))


def rates(recipe: Recipe) -> list[float]:
    """The learning rate at the beginning of each epoch, 390 steps long as for CIFAR."""
    assert recipe.epochs is not None
    return [learning_rate(recipe, recipe.epochs, 390 * epoch, 390) for epoch in range(recipe.epochs)]


def test_the_recipes_are_known_by_name() -> None:
    assert WHOLE == ["quick", "senet-cifar", "senet-imagenet", "variations-cnn3", "variations-resnet18"]
    assert OVERLAYS == ["adamw", "bf16", "ema", "one-cycle"]


@pytest.mark.parametrize("name", WHOLE)
def test_each_whole_recipe_fits_its_epochs_and_trains(name: str, make_model: Any) -> None:
    recipe = load_recipe(name)
    assert recipe.epochs is not None
    check_length(recipe, recipe.epochs)
    _train_a_step(recipe, recipe.epochs, make_model())


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", WHOLE)
def test_each_overlay_goes_on_each_whole_recipe(name: str, overlay: str, make_model: Any) -> None:
    below, above = bundled()[name].values, bundled()[overlay].values
    recipe = load_recipe([name, overlay])
    assert recipe == Recipe.model_validate({**below, **above})
    assert recipe.epochs is not None
    check_length(recipe, recipe.epochs)
    _train_a_step(recipe, recipe.epochs, make_model())


def _train_a_step(recipe: Recipe, epochs: int, model: nn.Module) -> None:
    optimizer = optimizers.build(model, recipe)
    average = WeightAverage(model, recipe.ema_decay or 0.9)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, epochs, 0, 10)
    images, labels = torch.rand(14, 3, 8, 8), torch.arange(14) % 7
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = nn.functional.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    average.update(model, 1)
    after = [*model.parameters(), *average.model.parameters()]
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", [*WHOLE, *OVERLAYS])
def test_each_file_tells_its_source_and_what_is_ours(name: str) -> None:
    text = bundled()[name].text
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("\n".join(comment))
    assert "ours" in text.lower()
    assert bundled()[name].summary.endswith(".")
    assert max(map(len, text.splitlines())) <= 120


def test_the_papers_learning_rates() -> None:
    imagenet, cifar, cnn = (load_recipe(name) for name in ("senet-imagenet", "senet-cifar", "variations-cnn3"))
    expected = [0.6] * 30 + [0.06] * 30 + [0.006] * 30 + [0.0006] * 10  # arXiv 1709.01507
    assert rates(imagenet) == pytest.approx(expected)
    # arXiv 1512.03385: 0.1, divided by 10 at 32,000 and 48,000 of 64,000 steps of 128 images, here in whole epochs.
    per_epoch = 50_000 / 128
    assert [round(steps / per_epoch) for steps in (32_000, 48_000, 64_000)] == [*cifar.milestones, cifar.epochs]
    assert rates(cifar) == pytest.approx([0.1] * 82 + [0.01] * 41 + [0.001] * 41)
    assert rates(cnn) == pytest.approx([0.7**epoch for epoch in range(50)])  # arXiv 2304.06502


def test_later_layers_go_on_top_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yml").write_text("lr: 1e-2\nema_decay: 0.9\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    whole = load_recipe("senet-cifar")
    for path in ("mine.yml", str(tmp_path / "mine.yml"), "~/mine.yml"):
        recipe = load_recipe(["senet-cifar", path, {"lr": 0.05}])
        assert recipe == whole.model_copy(update={"lr": 0.05, "ema_decay": 0.9})
    assert load_recipe("mine.yml") == Recipe(lr=0.01, ema_decay=0.9)
    assert load_recipe([{"lr": 0.05}, "mine.yml"]).lr == 0.01
    assert load_recipe({"lr": 0.05}) == load_recipe([{"lr": 0.05}]) == Recipe(lr=0.05)
    assert load_recipe([]) == load_recipe({}) == Recipe()


def test_values_are_those_that_are_given() -> None:
    given = {"lr": 0.05}
    values = recipe_values(given)
    values["lr"] = 1.0
    assert given == {"lr": 0.05}
    assert recipe_values(["bf16", given]) == {"precision": "bf16", "channels_last": True, "lr": 0.05}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("senet-cifr", "unknown recipe 'senet-cifr': did you mean 'senet-cifar'?"),
        (["quick", "bf61"], "unknown recipe 'bf61': did you mean 'bf16'?"),
        ("gone.yaml", "there is no recipe file gone.yaml"),
        ("list.yaml", "recipe file list.yaml must hold keys and values, not list"),
        ("broken.yaml", "broken.yaml is not valid YAML"),
        (3, "a recipe is a name, a YAML file, keys and values, or a list of these, not 3"),
        (["quick", None], "a recipe is a name, a YAML file, keys and values, or a list of these, not None"),
        (["quick", {"lr": "0.1"}], "recipe: lr: must be a valid number, not '0.1'"),
        (["quick", {"learing_rate": 0.1}], "recipe: unknown key 'learing_rate'"),
        (["quick", {"schedul": "step"}], "recipe: unknown key 'schedul': did you mean 'schedule'?"),
        (["quick", {"optimizer": "adamw"}], "recipe: nesterov needs optimizer sgd"),
        (["senet-cifar", {"schedule": "cosine"}], "recipe: milestones has no effect without schedule step"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: object, message: str) -> None:
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "broken.yaml").write_text("a: [")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_recipe(given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_page_has_the_table_that_the_files_make() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page
    for value in ("0.6", "[82, 123]", "adadelta"):
        assert value in page


def test_the_page_tells_every_key_and_every_choice() -> None:
    page = PAGE.read_text(encoding="utf-8")
    choices = [*get_args(OptimizerName), *get_args(ScheduleName), *get_args(AugmentationName)]
    for name in (*Recipe.model_fields, *choices, *bundled()):
        assert f"`{name}`" in page


def test_recipes_load_without_torch() -> None:
    program = (
        "import sys\nfrom trainers.recipes import load_recipe\nload_recipe(['quick', 'ema'])\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", WHOLE)
def test_a_stretched_recipe_takes_its_steps_at_the_same_shares(name: str) -> None:
    usual = load_recipe(name)
    assert usual.epochs is not None
    twice = load_recipe(stretched(bundled_recipe(name).values, 2 * usual.epochs))
    for share in (0.05, 0.31, 0.55, 0.7, 0.9):
        rates = [learning_rate(r, r.epochs, int(share * r.epochs * 100), 100) for r in (usual, twice) if r.epochs]
        assert rates[0] == pytest.approx(rates[1], rel=0.03)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("epochs", [2, 7, 50])
def test_a_recipe_can_be_made_short(name: str, epochs: int) -> None:
    check_length(load_recipe(stretched(bundled_recipe(name).values, epochs)), epochs)


def test_what_has_no_length_is_not_stretched() -> None:
    assert stretched({"lr": 0.3, "milestones": [3]}, 10) == {"lr": 0.3, "milestones": [3]}
