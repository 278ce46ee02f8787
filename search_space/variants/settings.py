"""Whether a block's settings are such as its module takes."""

from collections.abc import Callable, Mapping
from functools import cache
from inspect import Parameter, signature
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from search_space.errors import InputError, unknown


def check_settings(module: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Raises an InputError unless settings are the keyword arguments, all and of the right types, of a module."""
    _, *parameters = signature(module).parameters.values()
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return
    named = {parameter.name: parameter for parameter in parameters}
    for key in settings:
        if key not in named:
            if not named:
                raise InputError(f"there is no setting '{key}': such a block has none")
            raise unknown("setting", key, named)
    try:
        hints = get_type_hints(getattr(module, "__init__", module), include_extras=True)
    except NameError:  # a user's module may name types that it imports for its type checker alone
        hints = {}
    for name, parameter in named.items():
        if name not in settings:
            if parameter.default is Parameter.empty:
                raise InputError(f"the setting '{name}' is missing")
        elif name in hints:
            _check_type(name, hints[name], settings[name])


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(strict=True))


def _check_type(name: str, hint: Any, value: Any) -> None:
    try:
        _adapter(hint).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"].replace("Input should be", "must be")
        given = list(value) if isinstance(value, tuple) else value
        raise InputError(f"{name}: {message[0].lower()}{message[1:]}, not {given!r}") from error
