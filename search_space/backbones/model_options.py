"""The options of a library's models: the arguments of their classes, with the values that their builders give them.

A builder such as timm's ``resnet50d`` takes any keywords and gives them to its model's class together with its own, so
the class's signature says which options there are, and a call of it which values are usual.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any

from torch import nn

from search_space.architecture import Option
from search_space.backbones.meta import WeightsOnMeta
from search_space.errors import InputError, first_line, unknown

_USUAL_CHANNELS, _USUAL_CLASSES = 3, 1000
_RATES = ("drop", "stochastic_depth")
_KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}


@dataclass(frozen=True)
class ModelOptions:
    """The options that the class of a model takes.

    Attributes:
        name: of the backbone.
        make: ``make(in_channels, num_classes, **options)``.
        reserved: the reasons why some arguments cannot be set, by argument.
    """

    name: str
    make: Callable[..., nn.Module]
    reserved: Mapping[str, str]

    def canonical(self, given: Mapping[str, Option], others: Mapping[str, Option]) -> dict[str, Option]:
        """Return the options that make another network than leaving them out would.

        Args:
            given: options by name.
            others: options of senas's own, whose names are suggested too.

        Raises:
            InputError: an option is unknown or cannot be set, or has the wrong type or value.
        """
        for key in given:
            if key in self.reserved:
                raise InputError(f"option {key} of backbone {self.name} cannot be set: {self.reserved[key]}")
        usual = _arguments(self.name, self.make)
        settable = [name for name, found in usual.items() if name not in self.reserved and found.is_settable]
        checked = {}
        for key, value in given.items():
            if key not in usual:
                raise unknown(f"option of backbone {self.name}", key, [*others, *settable])
            checked[key] = usual[key].converted(f"option {key} of backbone {self.name}", value)
        different = {key: value for key, value in checked.items() if value != usual[key].value}
        if different:
            received = _arguments(self.name, self.make, tuple(sorted(different.items())))
            for key, value in different.items():
                if received[key].value != value:
                    raise InputError(f"backbone {self.name} takes no other {key} than {received[key].value}")
        return different


@dataclass(frozen=True)
class _Argument:
    """An argument that a model's class was called with."""

    name: str
    value: Any
    annotation: Any

    @property
    def is_settable(self) -> bool:
        return self.value is None or isinstance(self.value, Option) or self._is_a_layer

    @property
    def _is_a_layer(self) -> bool:
        return callable(self.value) and "layer" in self.name

    def converted(self, what: str, value: Option) -> Option:
        """Another value for the argument, in the type that it has.

        Raises:
            InputError: it has another type, or is out of range.
        """
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not self.is_settable:
            raise InputError(f"{what} cannot be set: it is neither a number nor a text nor true or false")
        if self.name.startswith(_RATES):
            if not is_number or not 0 <= value < 1:  # type: ignore[operator]
                raise InputError(f"{what} must be a number of at least 0 and below 1, not {value!r}")
            return float(value)
        if self.value is None:
            return value
        kind = str if self._is_a_layer else float if self.annotation is float else type(self.value)
        if not (is_number if kind is float else type(value) is kind):
            example = "the name of a layer" if self._is_a_layer else f"{_KINDS[kind]} such as {self.value}"
            raise InputError(f"{what} must be {example}, not {value!r}")
        return kind(value)


@lru_cache(maxsize=64)
def _arguments(
    name: str, make: Callable[..., nn.Module], options: tuple[tuple[str, Option], ...] = ()
) -> dict[str, _Argument]:
    """The arguments that a model's class is called with, by their names."""
    given = dict(options)
    try:
        with WeightsOnMeta():
            kind = type(make(_USUAL_CHANNELS, _USUAL_CLASSES, **given))
            with _recorded(kind) as calls:
                make(_USUAL_CHANNELS, _USUAL_CLASSES, **given)
    except Exception as error:
        having = "".join(f" with {key} = {value}" for key, value in options[:1])
        raise InputError(
            f"backbone {name} cannot be made{having}: {type(error).__name__}: {first_line(error)}"
        ) from error
    found = {}
    for key, parameter in signature(kind).parameters.items():
        if parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
            value = calls[0].get(key, parameter.default)
            # Rates of dropout that are not given are none.
            found[key] = _Argument(
                key, 0.0 if value is None and key.startswith(_RATES) else value, parameter.annotation
            )
    return found


@contextmanager
def _recorded(kind: type[nn.Module]) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each call of a class, by their names, for the time of a block."""
    original = kind.__init__
    calls: list[dict[str, Any]] = []

    def recording(self: nn.Module, *arguments: Any, **keywords: Any) -> None:
        calls.append(dict(signature(original).bind(self, *arguments, **keywords).arguments))
        original(self, *arguments, **keywords)

    kind.__init__ = recording  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        kind.__init__ = original  # type: ignore[method-assign]
