"""Recipes by name, one YAML file each in this folder, and how they are laid over each other; no torch here.

A whole recipe has ``epochs``; an overlay has the few keys that make something else of any recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search_space.errors import InputError, unknown
from search_space.yaml_text import parse_yaml
from trainers.recipe import Recipe
from trainers.settings import explain, read_mapping

_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class BundledRecipe:
    """A recipe that comes along: its file's text, and what that says.

    The comment at the top tells its source and what in it is ours; its first paragraph is the summary.
    """

    name: str
    text: str

    @property
    def values(self) -> dict[str, Any]:
        """The keys that the file has."""
        values: dict[str, Any] = parse_yaml(self.text, f"recipe {self.name}")
        return values

    @property
    def summary(self) -> str:
        """What it is, in a sentence or two."""
        comment = self.text.partition("\n#\n")[0]
        return " ".join(line.removeprefix("#").strip() for line in comment.splitlines() if line.startswith("#"))

    @property
    def is_whole(self) -> bool:
        """Whether it is a recipe by itself, and no overlay."""
        return "epochs" in self.values


def bundled() -> dict[str, BundledRecipe]:
    """The recipes that come along, by name."""
    files = sorted(
        (file for file in resources.files(__name__).iterdir() if file.name.endswith(_ENDINGS)),
        key=lambda file: file.name,
    )
    names = [file.name.rpartition(".")[0] for file in files]
    return {
        name: BundledRecipe(name, file.read_text(encoding="utf-8")) for name, file in zip(names, files, strict=True)
    }


def bundled_recipe(name: str) -> BundledRecipe:
    """The recipe of a name.

    Raises:
        InputError: there is none; the message has the nearest.
    """
    recipes = bundled()
    if name not in recipes:
        raise InputError(f"{unknown('recipe', name, recipes)}; a file of your own ends in .yaml")
    return recipes[name]


def recipe_values(given: Any) -> dict[str, Any]:
    """The values of a recipe as it stands in a configuration, unchecked.

    Args:
        given: the name of a bundled recipe, the path of a YAML file (as seen from the working directory), a mapping
            of values, or a list of these, of which later ones go on top of earlier ones, key by key.

    Raises:
        InputError: a name is unknown, a file missing or not YAML, or it is something else.
    """
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, list | tuple):
        return {key: value for layer in given for key, value in recipe_values(layer).items()}
    if not isinstance(given, str):
        raise InputError(f"a recipe is a name, a YAML file, keys and values, or a list of these, not {given!r}")
    if given.endswith(_ENDINGS):
        return read_mapping(Path(given).expanduser(), "recipe file")
    return bundled_recipe(given).values


def stretched(values: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """The values of a recipe whose schedule takes its steps at the same shares of another number of epochs.

    Those of a recipe without a length of its own stay as they are. No step is shorter than an epoch.
    """
    length = values.get("epochs")
    changed = dict(values)
    if length is None:
        return changed
    for key in ("step_epochs", "warmup_epochs"):
        if changed.get(key):
            changed[key] = max(1, round(changed[key] * epochs / length))
    if changed.get("warmup_epochs", 0) >= epochs:
        changed["warmup_epochs"] = epochs - 1
    if "milestones" in changed:
        moved = {max(1, round(milestone * epochs / length)) for milestone in changed["milestones"]}
        changed["milestones"] = sorted(milestone for milestone in moved if milestone < epochs)
    return changed | {"epochs": epochs}


def load_recipe(given: Any) -> Recipe:
    """The recipe that is given in any of the ways that :func:`recipe_values` takes.

    Raises:
        InputError: something is wrong; the message names the key and what would be right.
    """
    values = recipe_values(given)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InputError(f"recipe: {explain(error, Recipe, values)}") from error
