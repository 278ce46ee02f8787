"""Settings as people write them: YAML read as they mean it, and what is wrong in it told in one line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from search_space.errors import InputError, unknown


class _Loader(yaml.SafeLoader):
    """The safe loader, reading 1e-3 as a number the way YAML 1.2 and everyone who types it does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, source: str) -> Any:
    """What a YAML text says.

    Raises:
        InputError: it is not YAML; the message names the source.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def read_mapping(path: Path, kind: str) -> dict[str, Any]:
    """The keys and values in a YAML file, which messages call by its kind, such as "config file".

    Raises:
        InputError: the file is missing, cannot be read, is not YAML, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"there is no {kind} {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} cannot be read: {error}") from error
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise InputError(f"{kind} {path} must hold keys and values, not {type(data).__name__}")
    return data


def explain(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]) -> str:
    """The first thing that a model found wrong with data, as one line: the key, what it is, what would be right."""
    details = next(iter(error.errors()))
    path = [str(part) for part in details["loc"]]
    key, given = ".".join(_as_written(path, data)), details["input"]
    expected = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return str(unknown("key", key, _siblings(path, model)))
        case "missing":
            return f"the key '{key}' is missing"
        case "literal_error":
            choices = re.findall(r"'([^']*)'", str(expected["expected"]))
            return f"{key}: {unknown('value', given, choices)}"
        case "value_error":
            return f"{key}: {expected['error']}" if key else str(expected["error"])
        case "too_short":
            return f"{key}: must not be empty"
        case _:
            message = details["msg"].replace("Input should be", "must be")
            return f"{key}: {message}, not {given!r}"


def _as_written(path: list[str], data: Any) -> list[str]:
    """The part of a path that the user wrote: a short form has keys inside that only we know of."""
    for depth, part in enumerate(path):
        if not isinstance(data, Mapping):
            return path[:depth]
        data = data.get(part)
    return path


def _siblings(path: list[str], model: Any) -> list[str]:
    """The keys that would have been right where one is unknown, with the dotted path before them."""
    for part in path[:-1]:
        annotation = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
        model = next((t for t in (annotation, *getattr(annotation, "__args__", ())) if _is_model(t)), None)
    prefix = "".join(f"{part}." for part in path[:-1])
    return [prefix + name for name in model.model_fields] if model else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
