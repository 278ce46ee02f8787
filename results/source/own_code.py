"""Modules that tracing keeps whole: which they are, and their code with all that it needs."""

import ast
import builtins
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

from torch import fx, nn

from results.source.expressions import literal, one_line
from search_space.errors import InputError

REWRITTEN = {
    "torchvision.ops.stochastic_depth.StochasticDepth": '''\
def forward(self, x: Tensor) -> Tensor:
    """In training, x / (1 - p) for a share 1 - p of the images (or batches), and zero for the others."""
    if not self.training or self.p == 0:
        return x
    kept = 1.0 - self.p
    size = [x.shape[0] if self.mode == "row" else 1] + [1] * (x.ndim - 1)
    noise = torch.empty(size, dtype=x.dtype, device=x.device).bernoulli_(kept)
    return x * (noise.div_(kept) if kept > 0 else noise)
''',
    "timm.layers.drop.DropPath": '''\
def forward(self, x: Tensor) -> Tensor:
    """In training, x for a share of 1 - drop_prob of the images, scaled up if so asked, and zero for the others."""
    if not self.training or self.drop_prob == 0:
        return x
    kept = 1 - self.drop_prob
    noise = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(kept)
    return x * (noise.div_(kept) if kept > 0 and self.scale_by_keep else noise)
''',
}
"""Forwards of well-known modules, said in few words; they draw the same random numbers in the same order."""


OF_THE_FILE = {
    "F": "import torch.nn.functional as F",
    "OrderedDict": "from collections import OrderedDict",
    "Path": "from pathlib import Path",
    "Tensor": "from torch import Tensor",
    "json": "import json",
    "nn": "from torch import nn",
    "operator": "import operator",
    "prod": "from math import prod",
    "torch": "import torch",
    **dict.fromkeys(("Network", "load", "read_safetensors")),
}
"""The names that the file uses itself, and how it imports them."""


def is_torchs(module: nn.Module) -> bool:
    """Whether a module is one of torch's own."""
    return type(module).__module__.startswith("torch.nn.")


class _Tracer(fx.Tracer):
    """Keeps whole what cannot be traced, or does one thing in training and another in evaluation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or traced_alone(m) is None


def traced_alone(module: nn.Module) -> tuple[nn.Module, fx.Graph] | None:
    """A module of one input and one output and its graph; None if its code says more than a graph can."""
    if is_torchs(module):
        return None
    graphs = []
    for training in (True, False):
        copy = deepcopy(module).train(training)
        kept = set(dir(copy))
        try:
            graphs.append(_Tracer().trace(copy))
        except Exception:  # whatever stops the tracer, the module's own code is then taken as it is
            return None
        if set(dir(copy)) != kept:  # a constant that the tracer had to keep somewhere
            return None
    texts = [[node.format_node() for node in graph.nodes] for graph in graphs]
    inputs = [node for node in graphs[0].nodes if node.op == "placeholder"]
    output = graphs[0].output_node().args[0]
    if texts[0] != texts[1] or len(inputs) != 1 or not isinstance(output, fx.Node):
        return None
    return module, graphs[0]


@dataclass
class OwnCode:
    """Collects functions and classes that are not torch's, and the imports and constants that they need.

    Attributes:
        imports: lines such as ``import math``.
        constants: their lines by name, in an order in which they can stand.
        definitions: the same of functions and classes, each under a line that says where it is from.
    """

    imports: set[str] = field(default_factory=set)
    constants: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    _objects: dict[str, Any] = field(default_factory=dict)

    def function_name(self, function: Any) -> str:
        """The name of a function, whose code is taken along.

        Raises:
            InputError: its code is not there, or needs something that cannot be taken along.
        """
        if not isinstance(function, types.FunctionType):
            raise InputError(f"a network that calls {function!r} cannot be written as Python")
        self._define(function.__name__, function, function.__qualname__)
        return function.__name__

    def methods(self, module: nn.Module, path: str) -> list[str]:
        """The code of a module's forward and of the methods and properties that it uses.

        Raises:
            InputError: the code is not there, or needs something that cannot be taken along.
        """
        kind = type(module)
        name = f"{kind.__module__}.{kind.__qualname__}"
        where = f"module {path} ({kind.__qualname__})"
        if name in REWRITTEN:
            self.imports |= {"import torch", "from torch import Tensor"}
            return [REWRITTEN[name]]
        written: dict[str, str] = {}
        waiting = ["forward"]
        while waiting:
            method = waiting.pop(0)
            found = inspect.getattr_static(kind, method, None)
            if method in written or found is None or (hasattr(nn.Module, method) and method != "forward"):
                continue
            function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
            if not isinstance(function, types.FunctionType):
                self._constant(found, where)
                written[method] = f"{method} = {one_line(literal(found, method))}\n"
                continue
            written[method] = self._code(function, where)
            waiting += _attributes_of_self(ast.parse(written[method]))
        return list(written.values())

    def _code(self, found: Any, where: str) -> str:
        try:
            code = textwrap.dedent(inspect.getsource(found))
        except (OSError, TypeError) as error:
            raise InputError(f"{where} cannot be written as Python: its code is not in a file") from error
        tree = ast.parse(code)
        if any(isinstance(node, ast.Name) and node.id == "super" for node in ast.walk(tree)):
            raise InputError(f"{where} cannot be written as Python: its code calls super()")
        namespace = _namespace(found)
        for name in _free_names(tree):
            if name in namespace:
                self._define(name, namespace[name], where)
            elif not hasattr(builtins, name):
                raise InputError(f"{where} cannot be written as Python: it uses {name}, which is not defined")
        return code

    def _define(self, name: str, found: Any, where: str) -> None:
        if name in self._objects:
            if self._objects[name] is not found:
                raise InputError(f"{where} cannot be written as Python: two things are called {name}")
            return
        line = _import(name, found)
        if name in OF_THE_FILE and line != OF_THE_FILE[name]:
            raise InputError(f"{where} cannot be written as Python: it has a {name} of its own, as the file has")
        self._objects[name] = found
        if line is not None:
            self.imports.add(line)
        elif isinstance(found, types.FunctionType | type):
            if found.__name__ != name:
                raise InputError(f"{where} cannot be written as Python: it calls {found.__name__} by the name {name}")
            code, origin = self._code(found, where), origin_of(found.__module__)
            self.definitions[name] = f"# {origin}\n{code}" if origin else code
        else:
            self._constant(found, f"{where}, which uses {name},")
            self.constants[name] = f"{name} = {one_line(literal(found, name))}\n"

    def _constant(self, found: Any, where: str) -> None:
        if isinstance(found, types.ModuleType):
            raise InputError(f"{where} cannot be written as Python: it needs {found.__name__}, and only torch is there")
        try:
            literal(found, "")
        except InputError as error:
            raise InputError(f"{where} cannot be written as Python: {found!r} is no constant") from error


@cache
def origin_of(module: str) -> str:
    """The distribution that a module's source text is from, and its licence; empty if it is of none.

    That is what the metadata of the installed distribution say: https://packaging.python.org/specifications/core-metadata.
    """
    names = metadata.packages_distributions().get(module.partition(".")[0], [])
    if not names:
        return ""
    about = metadata.metadata(names[0])
    classifiers = [text for text in about.get_all("Classifier") or [] if text.startswith("License ::")]
    said = [*(about[key] for key in ("License-Expression", "License") if key in about), *classifiers]
    licence = next((text for text in said if text and "\n" not in text), "under the licence in its distribution")
    return f"From {names[0]} {metadata.version(names[0])}, {licence.rpartition(':: ')[2]}."


def _import(name: str, found: Any) -> str | None:
    """The line that imports something from torch or Python's own library."""
    if isinstance(found, types.ModuleType):
        if not _is_there(found.__name__):
            return None
        package, _, last = found.__name__.rpartition(".")
        if found.__name__ == name:
            return f"import {name}"
        return f"from {package} import {name}" if last == name else f"import {found.__name__} as {name}"
    module = getattr(found, "__module__", None)
    if isinstance(module, str) and _is_there(module) and getattr(sys.modules.get(module), name, None) is found:
        return f"from {module} import {name}"
    return None


def _is_there(module: str) -> bool:
    package = module.partition(".")[0]
    return package == "torch" or (package in sys.stdlib_module_names and package != "builtins")


def _namespace(found: Any) -> dict[str, Any]:
    if isinstance(found, types.FunctionType):
        closure = inspect.getclosurevars(found).nonlocals
        return {**found.__globals__, **closure}
    return vars(sys.modules[found.__module__])


def _free_names(tree: ast.AST) -> Iterator[str]:
    nodes = list(ast.walk(tree))
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    bound |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    yield from dict.fromkeys(n.id for n in nodes if isinstance(n, ast.Name) and n.id not in bound)


def _attributes_of_self(tree: ast.AST) -> list[str]:
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return [a.attr for a in attributes if isinstance(a.value, ast.Name) and a.value.id == "self"]
