"""The configuration of training in full: how long, with which steps, with what of the search's."""

from typing import Any

import pytest

from nas.cli.full_training import full_training
from nas.config import Config, load_config
from search_space import Architecture, resolve
from search_space.weights import Weights

ARCHITECTURE = Architecture(resolve("resnet8", num_classes=10, input_size=(1, 8, 8)))


@pytest.fixture
def settings(tmp_path) -> dict[str, Any]:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "backbone: {name: resnet8}\ndata: {name: digits, limit: 500}\nresources: {cpus_per_trial: 2}\n"
        "recipe: [senet-cifar, {milestones: [10, 15]}]\nsearch: {trials: 9, epochs: 20}\n"
    )
    return load_config(file).to_dict()


def trained(settings: dict[str, Any], *, recipe: str | None = None, epochs: int | None = None, **more: Any) -> Config:
    options = {"download": False, "overrides": None} | more
    return full_training(settings, ARCHITECTURE, recipe=recipe, epochs=epochs, **options)


def test_it_is_as_long_as_in_the_search(settings):
    config = trained(settings)
    assert config.search.epochs == 20
    assert config.recipe.milestones == (10, 15)
    assert config.search.asha is None
    assert (config.data.limit, config.resources.cpus_per_trial) == (500, 2)


def test_steps_move_with_the_length(settings):
    config = trained(settings, epochs=40)
    assert (config.search.epochs, config.recipe.milestones) == (40, (20, 30))


def test_another_recipe_has_its_own_length(settings):
    config = trained(settings, recipe="senet-cifar")
    assert (config.search.epochs, config.recipe.milestones) == (164, (82, 123))
    shorter = trained(settings, recipe="senet-cifar", epochs=20)
    assert (shorter.search.epochs, shorter.recipe.milestones) == (20, (10, 15))


def test_overrides_and_downloads_go_on_top(settings):
    config = trained(settings, overrides=["recipe.batch_size=32", "data.split_seed=3"], download=True)
    assert (config.recipe.batch_size, config.data.split_seed, config.data.download) == (32, 3, True)
    assert not trained(settings).data.download


def test_it_begins_with_the_weights_of_the_search(settings, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "w.pt"
    file.touch()
    settings["backbone"] |= {"weights": str(file), "weights_channels": "adapt"}
    assert trained(settings).backbone.to_load == Weights(str(file), "adapt")
    moved = file.rename(file.with_name("moved.pt"))
    monkeypatch.chdir(tmp_path)
    assert trained(settings).backbone.weights == str(file)
    settings["backbone"] |= {"weights": f"/gone/weights/{moved.name}"}
    assert trained(settings).backbone.weights == str(moved)


def test_the_length_has_to_be_said_somewhere():
    data = {"study": "mine", "data": {"name": "digits"}, "recipe": {"lr": 0.1}}
    with pytest.raises(ValueError, match=r"mine: the key 'search.epochs' is missing"):
        trained(data)
    assert trained(data, epochs=7).search.epochs == 7
