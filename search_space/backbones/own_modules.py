"""A user's own network by import path: ``package.module:Class`` or ``package.module:function``."""

from collections.abc import Callable
from functools import cache
from inspect import Parameter, signature
from typing import Any

from torch import nn

from search_space.architecture import Option
from search_space.backbones.entry import Entry
from search_space.errors import InputError
from search_space.import_paths import import_object

_GIVEN = ("in_channels", "num_classes")


@cache
def own_entry(path: str) -> Entry:
    """How to make the network at an import path.

    It is called with ``in_channels`` and ``num_classes`` as far as it takes them; its other arguments that have a
    default are options.

    Raises:
        InputError: it cannot be imported or called.
    """
    found = import_object("backbone", path)
    if not callable(found):
        raise InputError(f"backbone {path} must be a class or a function that makes a torch module, not {found!r}")
    try:
        parameters = signature(found).parameters
    except (TypeError, ValueError) as error:
        raise InputError(f"backbone {path} must be a class or a function of one's own, not {found!r}") from error
    options = {}
    for name, parameter in parameters.items():
        if name in _GIVEN or parameter.kind in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
            continue
        if parameter.default is Parameter.empty:
            raise InputError(f"backbone {path} takes '{name}' without a default: only {' and '.join(_GIVEN)} are given")
        if isinstance(parameter.default, Option):
            options[name] = parameter.default
    return Entry(_calling(found, [name for name in _GIVEN if name in parameters]), options=options)


def _calling(found: Callable[..., Any], taken: list[str]) -> Callable[..., nn.Module]:
    def make(in_channels: int, num_classes: int, **options: Option) -> nn.Module:
        given = {"in_channels": in_channels, "num_classes": num_classes}
        module = found(**{name: given[name] for name in taken}, **options)
        if not isinstance(module, nn.Module):
            raise InputError(f"it must make a torch module, not {type(module).__name__}")
        return module

    return make
