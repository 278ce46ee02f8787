"""The calls that make a network's modules, read off the modules themselves."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from results.source.expressions import Expression, Group, Repeat, Text, literal, quoted
from search_space.errors import InputError


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor; it is left out where it has its default."""

    name: str
    value: "Term"
    default: Expression | None = None
    positional: bool = False


@dataclass(frozen=True)
class Constructor:
    """A call that makes a module."""

    name: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Part:
    """The module at a path of the network, of a class that is written with it."""

    path: str


@dataclass(frozen=True)
class Collection:
    """A container with its modules by name, such as ``nn.Sequential`` or ``nn.ModuleDict``."""

    kind: str
    modules: tuple[tuple[str, "Term"], ...]


Term = Expression | Constructor | Part | Collection
"""What makes a module, before all of the classes that it takes are known."""

_CHECKED_TYPES = (bool, int, float, str, tuple, list, type(None))


def of_torch(module: nn.Module, path: str) -> Constructor:
    """The call that makes one of torch's own modules.

    Raises:
        InputError: a module made by it would be another.
    """
    kind = type(module)
    arguments = []
    for name, parameter in _parameters(kind).items():
        value = _value(module, name, parameter)
        default = None if parameter.default is inspect.Parameter.empty else literal(parameter.default, name)
        arguments.append(Argument(name, literal(value, name), default, positional=default is None))
    _check(module, {name: _value(module, name, p) for name, p in _parameters(kind).items()}, path)
    return Constructor(f"nn.{kind.__name__}", tuple(arguments))


def _parameters(kind: type[nn.Module]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(kind).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name not in ("device", "dtype") and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def _value(module: nn.Module, name: str, parameter: inspect.Parameter) -> Any:
    if not hasattr(module, name):
        return parameter.default  # if that is not what the module was made with, the check says so
    value = getattr(module, name)
    if name == "bias":
        return value if isinstance(value, bool) else value is not None
    square = isinstance(value, tuple) and len(set(value)) == 1
    return value[0] if square and _is_repeated(type(module), name) else value


def _is_repeated(kind: type[nn.Module], name: str) -> bool:
    """Whether one number stands for a tuple of equal ones, as the constructors of convolutions make it."""
    return issubclass(kind, nn.modules.conv._ConvNd) and name != "output_padding"


def _check(module: nn.Module, arguments: dict[str, Any], path: str) -> None:
    """Raises an InputError unless a module with those arguments is the one that is there."""
    kind = type(module)
    if getattr(nn, kind.__name__, None) is not kind:
        raise InputError(f"module {path} is a {kind.__module__}.{kind.__qualname__}, which cannot be written as Python")
    with torch.device("meta"):
        made = kind(**{name: value for name, value in arguments.items() if value is not inspect.Parameter.empty})
    differences = [name for name, value in _state(module).items() if _state(made).get(name) != value]
    if differences or _state(made).keys() != _state(module).keys():
        named = ", ".join(differences) or "its parts"
        raise InputError(
            f"module {path}, {module}, cannot be written as Python: {named} is not what its arguments make"
        )


def _state(module: nn.Module) -> dict[str, Any]:
    plain = {key: value for key, value in vars(module).items() if isinstance(value, _CHECKED_TYPES) and key[0] != "_"}
    plain.pop("training", None)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return plain | {f"{name} (tensor)": (tuple(t.shape), t.dtype) for name, t in tensors.items()}


def lowered(term: Term) -> Expression:
    """A term whose parts are all known, as an expression."""
    assert not isinstance(term, Part), "the class of a part is known before what it is part of is written"
    if isinstance(term, Collection):
        return _collection(term)
    if isinstance(term, Constructor):
        items = []
        for argument in term.arguments:
            value = lowered(argument.value)
            if value != argument.default:
                items.append(("" if argument.positional else f"{argument.name}=", value))
        return Group(Text(term.name), tuple(items))
    if isinstance(term, Group):
        return Group(term.head, tuple((p, lowered(i)) for p, i in term.items), term.brackets, term.trailing)
    return term


def _collection(term: Collection) -> Expression:
    modules = [(name, lowered(module)) for name, module in term.modules]
    if term.kind != "nn.ModuleDict" and [name for name, _ in modules] == [str(i) for i in range(len(modules))]:
        items = tuple(("", item) for item in _repeats([module for _, module in modules]))
        inner = items if term.kind != "nn.ModuleList" else (("", Group(Text(""), items, "[]")),)
        return Group(Text(term.kind), inner)
    return Group(Text(term.kind), (("", dictionary(modules, ordered=term.kind != "nn.ModuleDict")),))


def dictionary(modules: list[tuple[str, Expression]], *, ordered: bool) -> Expression:
    """Modules by name."""
    entries = Group(Text(""), tuple((f"{quoted(name)}: ", module) for name, module in modules), "{}")
    return Group(Text("OrderedDict"), (("", entries),)) if ordered else entries


def _repeats(modules: list[Expression]) -> list[Expression]:
    """Modules in a row, those that repeat as ``*(Block(16, 16) for _ in range(3))``."""
    written: list[Expression] = []
    start = 0
    while start < len(modules):
        end = start
        while end < len(modules) and modules[end] == modules[start]:
            end += 1
        if end - start > 1:
            written.append(Repeat(modules[start], end - start))
        else:
            written.append(modules[start])
        start = end
    return written
