"""Settings in YAML files, and errors in them told in one line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from search_space.errors import InputError, unknown
from search_space.yaml_text import parse_yaml


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
    if data is None:
        raise InputError(f"{kind} {path} is empty: it must hold keys and values")
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
