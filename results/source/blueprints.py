"""What each module of a network is made of and what it does, before modules that are alike get one class."""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn

from results.source.classes import Blueprint, camel_case
from results.source.constructors import Collection, Constructor, Part, Term, of_torch
from results.source.expressions import Expression, Text, call, literal
from results.source.forwards import forward_of, torch_function
from results.source.own_code import REWRITTEN, OwnCode, is_torchs, origin_of
from results.source.scopes import Scope, is_chain, modules_from_outside, scopes_of
from search_space.architecture import SE, Architecture
from search_space.building import se_module
from search_space.errors import InputError
from search_space.mode_constants import ByMode
from search_space.tracing import SE_ROOT

_CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
_LIBRARIES = ("torch", "torchvision", "timm")
_MANY = 3
"""Chains of one kind from so many on have a class."""

_MOST_NUMBERS = 1024
"""Tensors that no state dict has are written number by number up to this size."""

_SHORT = {"Conv2d": "Conv", "BatchNorm2d": "Norm"}


def blueprints_of(model: fx.GraphModule, architecture: Architecture, own_code: OwnCode) -> list[Blueprint]:
    """The modules of a network that need a class, each after those it is made of; the network itself is the last.

    Args:
        own_code: is given the functions and methods that are taken as they are.

    Raises:
        InputError: something in the network has no form in Python.
    """
    return _Network(model, architecture, own_code).blueprints()


class _Network:
    def __init__(self, model: fx.GraphModule, architecture: Architecture, own_code: OwnCode) -> None:
        self._model = model
        self._own_code = own_code
        self._blocks = {se_module(site): se for site, se in architecture.sites}
        self._scopes = {scope.path: scope for scope in scopes_of(model).all()}
        stacks = (node.meta.get("nn_module_stack") or {} for node in model.graph.nodes)
        self._types = {path: kind for stack in stacks for path, kind in stack.values()}
        modules = [path for path, module in model.named_modules() if not isinstance(module, ByMode)]
        self._children = _children(modules + list(self._scopes))
        self._found: list[Blueprint] = []

    def blueprints(self) -> list[Blueprint]:
        _check_nothing_is_shared(self._model)
        self._part("")
        return self._found

    def _part(self, path: str) -> Term:
        """What makes the module at a path."""
        module, scope = self._module(path), self._scopes.get(path)
        if scope is None and is_torchs(module) and type(module) not in _CONTAINERS:
            return of_torch(module, path)
        is_chained = scope is not None and path != "" and self._is_sequential(path) and is_chain(scope)
        names = _names_in_order(scope) if scope is not None and is_chained else list(self._children.get(path, {}))
        parts = tuple((name, self._part(f"{path}.{name}".lstrip("."))) for name in names)
        tensors = tuple(_tensors(module, path))
        if scope is not None and is_chained:
            return self._chain(scope, parts)
        if scope is not None:
            return self._traced(scope, (*parts, *tensors))
        if is_torchs(module) and not tensors:
            return Collection(self._container(path, names), parts)
        return self._as_it_is(module, path, (*parts, *tensors))

    def _traced(self, scope: Scope, parts: tuple[tuple[str, Term], ...]) -> Term:
        """A module whose forward is in the graph."""
        kind = scope.level.type
        return self._keep(
            Blueprint(
                path=scope.path,
                kind=_class_name(kind) if scope.path else "Network",
                parts=parts,
                forward=forward_of(scope, self._model, self._own_code.function_name),
                suffix=self._suffix(scope),
                positions=self._positions(scope),
                about=_about(kind),
                given=_channels(scope.inputs),
                gives=_channels(scope.outputs),
            )
        )

    def _as_it_is(self, module: nn.Module, path: str, parts: tuple[tuple[str, Term], ...]) -> Term:
        """A module that tracing keeps whole."""
        methods = tuple(self._own_code.methods(module, path))
        attributes = tuple(_attributes(module, path, "\n".join(methods)))
        kind = type(module)
        about = _about(kind)
        if f"{kind.__module__}.{kind.__qualname__}" not in REWRITTEN:
            about = " ".join(filter(None, (about, origin_of(kind.__module__))))
        calls = [node for node in self._model.graph.nodes if node.op == "call_module" and node.target == path]
        taken = [source for node in calls for source in node.all_input_nodes]
        return self._keep(
            Blueprint(
                path,
                _class_name(kind),
                parts,
                attributes=attributes,
                methods=methods,
                about=about,
                given=_channels(taken),
                gives=_channels(calls),
            )
        )

    def _chain(self, scope: Scope, parts: tuple[tuple[str, Term], ...]) -> Term:
        """A chain of modules: an ``nn.Sequential``, or a class derived from it if there are many like it."""
        kind = scope.level.type
        names = [name for name, _ in parts]
        heads = [term.name.removeprefix("nn.") for _, term in parts if isinstance(term, Constructor)]
        is_plain = kind is nn.Sequential
        if self._count(kind, names, heads if is_plain else None) < _MANY or (is_plain and len(heads) < len(parts)):
            return Collection("nn.Sequential", parts)
        name = "".join(_SHORT.get(head, head) for head in heads) if is_plain else _class_name(kind)
        given, gives = _channels(scope.inputs), _channels(scope.outputs)
        return self._keep(Blueprint(scope.path, name, parts, is_chain=True, given=given, gives=gives))

    def _count(self, kind: type[nn.Module], names: list[str], heads: list[str] | None) -> int:
        """How many chains of a kind have modules of those names, and of those types if these are given."""
        count = 0
        for path, scope in self._scopes.items():
            if scope.level.type is kind and list(self._children.get(path, {})) == names:
                types = [type(self._module(f"{path}.{name}")).__name__ for name in names]
                count += heads in (None, types)
        return count

    def _keep(self, blueprint: Blueprint) -> Part:
        self._found.append(blueprint)
        return Part(blueprint.path)

    def _suffix(self, scope: Scope) -> str:
        """What tells a class from its like: the positions of the SE blocks it takes, or which SE block it is."""
        block = self._blocks.get(scope.path) or self._blocks.get(scope.path.removesuffix(".block"))
        if block is not None:
            return _told_apart(block)
        return "".join(f"{camel_case(position)}SE" for position in self._positions(scope))

    def _positions(self, scope: Scope) -> tuple[str, ...]:
        given = (self._blocks[path].position for path in modules_from_outside(scope) if path in self._blocks)
        return tuple(dict.fromkeys(given))

    def _module(self, path: str) -> nn.Module:
        """The module at a path; one without state and without parts of torch's is in the graph alone."""
        try:
            return self._model.get_submodule(path)
        except AttributeError:
            return nn.Module()

    def _is_sequential(self, path: str) -> bool:
        return issubclass(self._types.get(path, type(self._module(path))), nn.Sequential)

    def _container(self, path: str, names: list[str]) -> str:
        if self._is_sequential(path):
            return "nn.Sequential"
        if path != SE_ROOT and names == [str(i) for i in range(len(names))]:
            return "nn.ModuleList"
        for name in names:
            if hasattr(nn.ModuleDict, name):
                raise InputError(f"module {path}.{name} cannot be written as Python: nn.ModuleDict has a method {name}")
        return "nn.ModuleDict"


def _channels(maps: list[fx.Node]) -> frozenset[int]:
    """How many channels the first of some maps has; they may be its last dimension as well as its second."""
    shape: tuple[int, ...] = maps[0].meta.get("shape", ()) if maps else ()
    return frozenset((shape[1], shape[-1])) if len(shape) > 1 else frozenset()


def _children(paths: list[str]) -> dict[str, dict[str, None]]:
    """The names of the modules in each module."""
    found: dict[str, dict[str, None]] = {}
    for path in filter(None, paths):
        names = path.split(".")
        for i, name in enumerate(names):
            found.setdefault(".".join(names[:i]), {})[name] = None
    return found


def _names_in_order(chain: Scope) -> list[str]:
    return [(item.path if isinstance(item, Scope) else str(item.target)).rpartition(".")[2] for item in chain.items]


def _check_nothing_is_shared(model: nn.Module) -> None:
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in names:
            raise InputError(
                f"a network that shares weights cannot be written as Python: {names[id(parameter)]} is {name} as well"
            )
        names[id(parameter)] = name


def _tensors(module: nn.Module, path: str) -> Iterator[tuple[str, Term]]:
    usual = _usual(module)
    for name, parameter in module.named_parameters(recurse=False):
        yield name, call("nn.Parameter", _constant(parameter, name, usual))
    for name, buffer in module.named_buffers(recurse=False):
        if name not in module._non_persistent_buffers_set:
            yield name, call("nn.Buffer", _constant(buffer, name, usual))
        elif _without_repeats(buffer).numel() > _MOST_NUMBERS:
            raise InputError(
                f"module {path} cannot be written as Python: no state dict has its buffer {name}; make it persistent"
            )
        else:
            yield name, call("nn.Buffer", _numbers(buffer, name), persistent=Text("False"))


def _numbers(tensor: Tensor, name: str) -> Expression:
    once = _without_repeats(tensor)
    usual = tensor.dtype in (torch.float32, torch.int64, torch.bool)
    dtype = {} if usual else {"dtype": Text(str(tensor.dtype))}
    values = call("torch.tensor", literal(once.tolist(), name), **dtype)
    return (
        values
        if once is tensor
        else call("torch.tile", values, literal((len(tensor), *[1] * (tensor.dim() - 1)), name))
    )


def _without_repeats(tensor: Tensor) -> Tensor:
    """The first entry of a tensor, as a tensor of its own, if the others are the same."""
    is_repeated = tensor.dim() > 1 and len(tensor) > 1 and torch.equal(tensor, tensor[:1].expand_as(tensor))
    return tensor[:1] if is_repeated else tensor


def _usual(module: nn.Module) -> nn.Module | None:
    """A copy of a module of torch's kinds as its own reset leaves it, which has a norm's scales at one."""
    reset = getattr(type(module), "reset_parameters", None)
    if reset is None or not reset.__module__.startswith("torch.nn."):
        return None
    with torch.random.fork_rng(devices=[]):
        copy = deepcopy(module)
        reset(copy)
    return copy


def _constant(tensor: Tensor, name: str, usual: nn.Module | None) -> Expression:
    """A tensor of the same size: ones where a reset gives ones, else zeros."""
    start = None if usual is None else getattr(usual, name)
    has_ones = start is not None and start.numel() > 0 and torch.equal(start, torch.ones_like(start))
    sizes = [literal(size, "size") for size in tensor.shape] or [Text("()")]
    dtype = {} if tensor.dtype is torch.float32 else {"dtype": Text(str(tensor.dtype))}
    return call("torch.ones" if has_ones else "torch.zeros", *sizes, **dtype)


def _attributes(module: nn.Module, path: str, code: str) -> Iterator[tuple[str, Expression]]:
    """The plain values and functions of torch's that a module has and its code uses, absent tensors included."""

    def of_function(value: Any) -> Expression | None:
        name = torch_function(value) if callable(value) else None
        return None if name is None else Text(name)

    absent = {name: None for name, tensor in (module._parameters | module._buffers).items() if tensor is None}
    for name, value in (vars(module) | absent).items():
        if name not in vars(nn.Module()) and re.search(rf"\bself\.{name}\b", code):
            try:
                yield name, literal(value, name, of_function)
            except InputError as error:
                raise InputError(f"module {path} cannot be written as Python: its {name} is {value!r}") from error


def _told_apart(block: SE) -> str:
    settings = dict(block.settings)
    variant = "" if block.kind != "se" or block.variant == "standard" else camel_case(block.variant)
    unusual = [settings.get("squeeze", "avg"), settings.get("excitation", "sigmoid")]
    return variant + "".join(camel_case(str(name)) for name in unusual if name not in ("avg", "sigmoid"))


def _class_name(kind: type[nn.Module]) -> str:
    return kind.__name__.strip("_")


def _about(kind: type[nn.Module]) -> str:
    """The first line of a class's docstring, if it is not a library's; without pointers to what is not in the file."""
    own = vars(kind).get("__doc__") or ""
    first = own.strip().partition("\n")[0]
    return "" if kind.__module__.partition(".")[0] in _LIBRARIES else re.sub(r"; arguments as for \w+", "", first)
