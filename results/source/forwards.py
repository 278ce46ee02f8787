"""The forward of a module as statements, from the nodes of the graph that belong to it."""

import builtins
import inspect
import keyword
import operator
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from results.source.expressions import (
    Expression,
    Group,
    Joined,
    Text,
    Value,
    call,
    calls,
    joined,
    leaves,
    literal,
    one_line,
    quoted,
    replaced,
)
from results.source.growing import GROWN, Step, with_growing_list
from results.source.scopes import (
    CONCATENATIONS,
    Scope,
    by_mode,
    called_path,
    grows,
    is_of_blocks,
    is_tensor_of,
    modules_from_outside,
    relative,
)
from search_space.architecture import Shape
from search_space.tracing import SE_ROOT

_MOST_CALLS = 4
_FOLDED_WIDTH = 88

_BINARY = {
    operator.add: "+",
    operator.iadd: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.imul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
    operator.and_: "&",
    operator.or_: "|",
}
_HINTS = {operator.mul: "scale", operator.imul: "scale", operator.truediv: "divisor", operator.getitem: "index"}

_WITHOUT_EFFECT = {getattr, operator.getitem, "size", "dim"}


@dataclass(frozen=True)
class Statement:
    """``target = value``, or the value alone where the target is empty; without a target it returns the value.

    Attributes:
        shape: of the map that the target is.
    """

    target: str | None
    value: Expression
    shape: Shape | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Forward:
    """What a module does.

    Attributes:
        inputs: the names of the tensors that it takes.
        modules: the names of the modules that it takes after them, such as SE blocks.
        results: how many values it returns.
    """

    inputs: tuple[str, ...]
    modules: tuple[str, ...]
    statements: tuple[Statement, ...]
    results: int

    def outline(self) -> str:
        """What the forwards of one class have in common: everything but the numbers."""
        lines = (f"{s.target} = {one_line(s.value, lambda _: '0')}" for s in self.statements)
        return "\n".join((", ".join((*self.inputs, *self.modules)), *lines))


def forward_of(scope: Scope, model: nn.Module, function_name: Callable[[Any], str]) -> Forward:
    """The forward of a scope; ``function_name`` gives the name of a function that is not torch's.

    Raises:
        InputError: something in it has no form in Python.
    """
    inputs = scope.inputs or [i for i in scope.items if isinstance(i, fx.Node) and i.op == "placeholder"]
    outside = modules_from_outside(scope)
    kind = "se" if all(map(is_of_blocks, outside)) else "module"
    modules = dict(zip(outside, _numbered(kind, len(outside)), strict=True))
    functions: set[str] = set()

    def noted(function: Any) -> str:
        functions.add(name := function_name(function))
        return name

    steps = with_growing_list(_Writer(scope, model, modules, noted).steps())
    taken = functions.union(modules.values(), [GROWN])
    names = _named(steps, dict(zip(inputs, _numbered("x", len(inputs)), strict=True)), taken)
    statements = []
    for made, value in steps:
        target = made if isinstance(made, str) else ", ".join(names[node] for node in made) or None
        written = replaced(value, lambda node: Text(names[node]))
        shape = _map_shape(made[0]) if len(made) == 1 and not isinstance(made, str) else None
        statements.append(Statement(target, written, shape))
    given = tuple(names[node] for node in inputs)
    return Forward(given, tuple(modules.values()), tuple(statements), max(1, len(scope.outputs)))


Item = fx.Node | Scope
"""What a forward calls."""


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{i}" for i in range(1, count + 1)]


def _map_shape(node: fx.Node) -> Shape | None:
    shape = node.meta.get("shape", ())
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 else None


def _named(steps: list[Step], names: dict[fx.Node, str], taken: set[str]) -> dict[fx.Node, str]:
    """Names for all values: that of what a value was made from if that is not needed any more, else a new one."""
    used = [[leaf.of for leaf in leaves(value) if isinstance(leaf, Value)] for _, value in steps]
    last = {node: i for i, nodes in enumerate(used) for node in nodes}
    for i, (made, value) in enumerate(steps):
        alive = taken | {name for node, name in names.items() if last.get(node, -1) > i}
        ended = [names[node] for node in used[i] if last[node] <= i]
        for node in () if isinstance(made, str) else made:
            if node not in last:
                names[node] = "_"
                continue
            fresh = [_own_name(node, value), "out", *(f"out{n}" for n in range(2, len(steps) + 3))]
            free = (name for name in (*ended, *(n for n in fresh if n not in _TAKEN)) if name not in alive)
            names[node] = next(free)
            alive.add(names[node])
    return names


def _own_name(node: fx.Node, value: Expression) -> str:
    """The name of what alone makes a value, where that says more than ``out``: a module of several, or a size."""
    written = one_line(value)
    name = written.partition("(")[0].rpartition(".")[2]
    says_more = written.startswith("self.") and "." not in written.partition("(")[0].removeprefix("self.")
    if calls(value) == 1 and name.isidentifier() and (says_more or not _map_shape(node)):
        return name
    return "out"


@dataclass
class _Writer:
    """Goes through the items of a scope; what is used once and at once is written where it is used."""

    scope: Scope
    model: nn.Module
    modules: dict[str, str]
    function_name: Callable[[Any], str]
    made: list[Step] = field(default_factory=list)
    waiting: dict[fx.Node, Expression] = field(default_factory=dict)

    def steps(self) -> list[Step]:
        for item in self.scope.items:
            if isinstance(item, Scope):
                self._take(item, item.outputs)
            elif item.op == "output":
                self._return(item.args[0])
            elif item.op not in ("placeholder", "get_attr") and (item.users or item.target not in _WITHOUT_EFFECT):
                self._take(item, [item])
        if self.scope.path:
            outputs = self.scope.outputs
            self._return(outputs[0] if len(outputs) == 1 else tuple(outputs))
        return self.made

    def _return(self, value: Any) -> None:
        self._write_waiting(but=[node for node in self.waiting if node is value])
        self.made.append(((), self._argument(value, "")))

    def _take(self, item: Item, made: list[fx.Node]) -> None:
        """Goes on to an item; what it takes is written within it if that reads well, and before it if not."""
        needed = [source for source in _taken_by(item) if source in self.waiting]
        latest = list(self.waiting)[len(self.waiting) - len(needed) :]
        self._write_waiting(but=latest if needed == latest and self._reads_well(item, needed) else [])
        value = self._value(item)
        for source in needed:
            self.waiting.pop(source, None)
        if len(made) == 1 and self._may_wait(item, made[0]):
            self.waiting[made[0]] = value
        else:
            self.made.append((tuple(made), value))

    def _write_waiting(self, but: Collection[fx.Node]) -> None:
        for node in [node for node in self.waiting if node not in but]:
            self.made.append(((node,), self.waiting.pop(node)))

    def _reads_well(self, item: Item, needed: list[fx.Node]) -> bool:
        """Whether an item may have others within it: convolutions and modules begin a line, operands are short."""
        if isinstance(item, fx.Node) and item.target in CONCATENATIONS and grows(self.scope):
            return False
        within = [calls(self.waiting[source]) for source in needed]
        most = 0 if self._begins_a_line(item) else 1 if _is_operation(item) else _MOST_CALLS - 1
        short = max(within, default=0) <= most and sum(within) < _MOST_CALLS
        return short and len(one_line(self._value(item), lambda _: "0")) <= _FOLDED_WIDTH

    def _begins_a_line(self, item: Item) -> bool:
        if isinstance(item, Scope):
            return not is_of_blocks(item.path)
        called = self.model.get_submodule(str(item.target)) if item.op == "call_module" else None
        return isinstance(called, nn.modules.conv._ConvNd)

    def _may_wait(self, item: Item, made: fx.Node) -> bool:
        """Whether what an item makes is used once; in the whole network, modules have a line each, with their SE."""
        users = [user for user in self.scope.items if made in _taken_by(user)]
        if made in self.scope.outputs:
            return self.scope.outputs == [made] and not users
        if len(users) != 1 or _taken_by(users[0]).count(made) != 1:
            return False
        return bool(self.scope.path) or isinstance(item, fx.Node) or is_of_blocks(called_path(users[0]) or "")

    def _value(self, item: Item) -> Expression:
        if isinstance(item, Scope):
            inputs = [self._argument(node, "") for node in item.inputs]
            modules = [self._module(path) for path in modules_from_outside(item)]
            return call(self._module(item.path), *inputs, *modules)
        return self._value_of_node(item)

    def _value_of_node(self, node: fx.Node) -> Expression:
        if node.op == "call_module":
            return self._called(self._module(str(node.target)), node.args, node.kwargs, "size")
        if node.op == "call_method":
            owner, *args = node.args
            head = joined(_enclosed(self._argument(owner, "")), f".{node.target}")
            return self._called(head, tuple(args), node.kwargs, str(node.target))
        return self._function(node)

    def _function(self, node: fx.Node) -> Expression:
        target: Any = node.target
        if target in _BINARY and len(node.args) == 2 and not node.kwargs:
            left, right = (_enclosed(self._argument(a, _HINTS.get(target, "addend"))) for a in node.args)
            sign = _BINARY[target]
            return joined(left, sign if sign == "**" else f" {sign} ", right)
        if target is operator.neg:
            return joined("-", _enclosed(self._argument(node.args[0], "")))
        if target is operator.getitem:
            return joined(_enclosed(self._argument(node.args[0], "")), "[", self._index(node.args[1]), "]")
        if target is by_mode:
            flag, in_training, in_evaluation = (self._argument(a, "") for a in node.args)
            return joined(in_training, " if ", flag, " else ", in_evaluation)
        if target is getattr and len(node.args) == 2:
            return joined(_enclosed(self._argument(node.args[0], "")), f".{node.args[1]}")
        name = torch_function(target) or self.function_name(target)
        kwargs = {k: v for k, v in node.kwargs.items() if not _is_default(target, k, v)}
        return self._called(Text(name), node.args, kwargs, name.rpartition(".")[2].strip("_"))

    def _called(self, head: Expression, args: Any, kwargs: Any, hint: str) -> Group:
        positional = [self._argument(arg, hint) for arg in args]
        return call(head, *positional, **{k: self._argument(v, k) for k, v in kwargs.items()})

    def _argument(self, value: Any, hint: str) -> Expression:
        return literal(value, hint, self._operand)

    def _index(self, value: Any) -> Expression:
        if isinstance(value, slice):
            bounds = (None if p is None else self._argument(p, "index") for p in (value.start, value.stop, value.step))
            start, stop, step = bounds
            return joined(start or "", ":", stop or "", *([":", step] if step is not None else []))
        if isinstance(value, tuple) and value:
            return joined(*_separated([self._index(part) for part in value]), *([","] if len(value) == 1 else []))
        return self._argument(value, "index")

    def _operand(self, value: Any) -> Expression | None:
        if not isinstance(value, fx.Node):
            return None
        if is_tensor_of(self.scope, value):
            owner, _, name = str(value.target).rpartition(".")
            if not name.isidentifier() or keyword.iskeyword(name):
                return call("getattr", self._module(owner), Text(quoted(name)))
            return joined(self._module(owner), f".{name}")
        return self.waiting.get(value, Value(value))

    def _module(self, path: str) -> Expression:
        """A module as its scope names it: an attribute, or what it was given."""
        if path in self.modules:
            return Text(self.modules[path])
        if path == self.scope.path:
            return Text("self")
        within = relative(path, self.scope.path)
        assert within is not None
        return Text("self" + "".join(accesses(self.model, self.scope.path, within)))


def accesses(model: nn.Module, scope: str, within: str) -> Iterator[str]:
    """How a module within another is reached, part by part: ``.layer1``, ``[0]``."""
    owner = scope
    for name in within.split("."):
        if owner == SE_ROOT:
            yield f"[{quoted(name)}]"
        elif name.isidentifier() and not keyword.iskeyword(name):
            yield f".{name}"
        elif owner != scope and name.isdecimal() and _is_list(model, owner):
            yield f"[{name}]"
        else:
            yield f".get_submodule({quoted(name)})"
        owner = f"{owner}.{name}" if owner else name


def _is_list(model: nn.Module, path: str) -> bool:
    names = [name for name, _ in model.get_submodule(path).named_children()]
    return names == [str(i) for i in range(len(names))]


_TAKEN = {"self", "torch", "nn", "F", "x", *keyword.kwlist, *dir(builtins)}


def _is_operation(item: Item) -> bool:
    return isinstance(item, fx.Node) and item.target in _BINARY


def _taken_by(item: Item) -> list[fx.Node]:
    return item.inputs if isinstance(item, Scope) else _in_order(item)


def _in_order(node: fx.Node) -> list[fx.Node]:
    """The values a node takes, in the order in which they stand in its call, those taken twice twice."""
    found: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), found.append)
    return found


def _separated(parts: list[Expression]) -> Iterator[Expression]:
    for i, part in enumerate(parts):
        if i:
            yield Text(", ")
        yield part


def _enclosed(value: Expression) -> Expression:
    """An operand in parentheses if it is an operation itself."""
    marks = [part.text for part in value.parts if isinstance(part, Text)] if isinstance(value, Joined) else []
    return joined("(", value, ")") if any(mark.startswith((" ", "-", "**")) for mark in marks) else value


def torch_function(function: Any) -> str | None:
    """The name of one of torch's or Python's own functions, such as ``F.pad``."""
    return _function_names().get(id(function))


@cache
def _function_names() -> dict[int, str]:
    names: dict[int, str] = {}
    for prefix, module in (("operator", operator), ("torch", torch), ("F", F)):
        for name in dir(module):
            if not name.startswith("__") and callable(found := getattr(module, name)):
                names[id(found)] = f"{prefix}.{name}"
    return names


@cache
def _defaults(function: Any) -> dict[str, Any]:
    try:
        return {n: p.default for n, p in inspect.signature(function).parameters.items()}
    except (TypeError, ValueError):
        return {}


def _is_default(function: Any, name: str, value: Any) -> bool:
    default = _defaults(function).get(name, inspect.Parameter.empty)
    return type(default) is type(value) and default == value
