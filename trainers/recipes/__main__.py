"""Writes the table of bundled recipes into docs/recipes.md: ``python -m trainers.recipes``."""

from pathlib import Path
from typing import Any

from trainers.recipe import Recipe
from trainers.recipes import BundledRecipe, bundled

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"

_BEGIN = "<!-- made by python -m trainers.recipes -->\n"
_END = "<!-- to here -->\n"


def with_table(page: str) -> str:
    """The page with the table as the files make it now, between its two marks."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return before + begin + "\n" + _tables() + "\n" + end + after


def _tables() -> str:
    recipes = sorted(bundled().values(), key=lambda recipe: not recipe.is_whole)
    listed = [f"- `{recipe.name}`: {recipe.summary}" for recipe in recipes]
    return "\n".join([*listed, "", *_table([recipe for recipe in recipes if recipe.is_whole]), ""])


def _table(recipes: list[BundledRecipe]) -> list[str]:
    """A row for each key that one of them has."""
    values = [recipe.values for recipe in recipes]
    keys = [key for key in Recipe.model_fields if any(key in of_one for of_one in values)]
    usual = Recipe().model_dump(mode="json")
    header = ["key", *(f"`{recipe.name}`" for recipe in recipes), "if not given"]
    rows = [[f"`{key}`", *(_cell(of_one.get(key, "")) for of_one in values), _cell(usual[key])] for key in keys]
    return [_row(header), _row(["---"] * len(header)), *map(_row, rows)]


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(str, value))}]"
        case _:
            return str(value)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
