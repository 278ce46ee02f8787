"""One graph for training and evaluation: constants that differ between the two become small modules."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

Constant = bool | int | float | str | None

_FLAG = "training"
_DROPOUTS = {
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
    *(F.alpha_dropout, F.feature_alpha_dropout),
}
"""Functions with a training flag that give their input as it is in evaluation."""


class ByMode(nn.Module):
    """Gives one constant in training and another in evaluation: the flag of ``F.dropout(x, training=...)``."""

    def __init__(self, in_training: Constant, in_evaluation: Constant) -> None:
        super().__init__()
        self.in_training = in_training
        self.in_evaluation = in_evaluation

    def forward(self) -> Constant:
        """Return the constant of the module's mode."""
        return self.in_training if self.training else self.in_evaluation


class DifferenceError(Exception):
    """Training and evaluation do other things from a node on."""

    def __init__(self, node: fx.Node) -> None:
        super().__init__(node.format_node())
        self.node = node


def merged(training: fx.GraphModule, evaluation: fx.GraphModule, original: nn.Module) -> fx.GraphModule:
    """Return the graph of training, with a :class:`ByMode` for each constant that is another one in evaluation.

    Each is a submodule of the module that makes the call, under a name that is free there, and follows its mode. A
    dropout that is called in training alone (``if self.training:``) is called in both, with a flag.

    Args:
        training: is changed.
        original: the module that was traced, for the names that it uses.

    Raises:
        DifferenceError: the graphs differ in more than constants.
    """
    merging = _Merging(training, original)
    others = list(evaluation.graph.nodes)
    for node in list(training.graph.nodes):
        other = others[0] if others else None
        if other is not None and merging.is_the_same_call(node, other):
            merging.take(node, others.pop(0))
        elif not merging.is_dropped_in_evaluation(node):
            raise DifferenceError(other or node)
    if others:
        raise DifferenceError(others[0])
    training.recompile()
    return training


def add_constants(module: nn.Module, constants: Mapping[str, ByMode]) -> None:
    """Adds a copy of each constant to a module, at its path."""
    for path, constant in constants.items():
        owner, _, name = path.rpartition(".")
        module.get_submodule(owner).add_module(name, ByMode(constant.in_training, constant.in_evaluation))


def constants_of(module: nn.Module) -> dict[str, ByMode]:
    """Return a network's constants by their paths."""
    return {path: part for path, part in module.named_modules() if isinstance(part, ByMode)}


class _Merging:
    """Goes through two graphs, and knows which nodes of one are which of the other."""

    def __init__(self, training: fx.GraphModule, original: nn.Module) -> None:
        self._training = training
        self._original = original
        self._others: dict[fx.Node, fx.Node] = {}

    def is_the_same_call(self, node: fx.Node, other: fx.Node) -> bool:
        same = node.op == other.op and node.target == other.target
        return same and self._alike((node.args, node.kwargs), (other.args, other.kwargs))

    def take(self, node: fx.Node, other: fx.Node) -> None:
        """Notes that two nodes are one, and gives the constants that differ a module each."""
        self._others[node] = other
        node.args = self._chosen(node, node.args, other.args)
        node.kwargs = self._chosen(node, node.kwargs, other.kwargs)

    def is_dropped_in_evaluation(self, node: fx.Node) -> bool:
        """Whether a node is a dropout that evaluation does without; it is then there in both."""
        if node.op == "call_module":
            if not isinstance(self._training.get_submodule(str(node.target)), nn.modules.dropout._DropoutNd):
                return False
        elif node.target in _DROPOUTS and self._flag(node) is True:
            self._set_flag(node)
        else:
            return False
        self._others[node] = self._others[node.all_input_nodes[0]]
        return True

    def _alike(self, ours: Any, others: Any) -> bool:
        if isinstance(ours, fx.Node):
            return isinstance(others, fx.Node) and self._others.get(ours) is others
        if type(ours) is not type(others):
            return isinstance(ours, Constant) and isinstance(others, Constant)
        if isinstance(ours, tuple | list):
            return len(ours) == len(others) and all(map(self._alike, ours, others))
        if isinstance(ours, dict):
            return ours.keys() == others.keys() and all(self._alike(ours[key], others[key]) for key in ours)
        if isinstance(ours, slice):
            return self._alike(_bounds(ours), _bounds(others))
        return isinstance(ours, Constant) or ours == others

    def _chosen(self, node: fx.Node, ours: Any, others: Any) -> Any:
        """What a node takes, with nodes that choose a constant where there are two."""
        if isinstance(ours, fx.Node):
            return ours
        if isinstance(ours, tuple | list):
            return type(ours)(self._chosen(node, a, b) for a, b in zip(ours, others, strict=True))
        if isinstance(ours, dict):
            return {key: self._chosen(node, value, others[key]) for key, value in ours.items()}
        if isinstance(ours, slice):
            return slice(*self._chosen(node, _bounds(ours), _bounds(others)))
        if type(ours) is type(others) and ours == others:
            return ours
        return self._constant(node, ByMode(ours, others))

    def _constant(self, node: fx.Node, constant: ByMode) -> fx.Node:
        """A node that calls a new module for a constant, before the node that needs it."""
        stack = dict(node.meta.get("nn_module_stack") or {})
        if node.op == "call_module":
            stack.popitem()
        owner = next((path for path, _ in reversed(stack.values())), "")
        path = self._free(owner)
        self._training.add_submodule(path, constant)
        with self._training.graph.inserting_before(node):
            made = self._training.graph.call_module(path)
        made.meta["nn_module_stack"] = {**stack, path: (path, ByMode)}
        return made

    def _free(self, owner: str) -> str:
        """A path in a module where neither the network nor the graph has anything."""
        owners = [self._original.get_submodule(owner)]
        owners += [part for path, part in self._training.named_modules() if path == owner]
        name, number = "mode", 1
        while any(hasattr(part, name) for part in owners):
            number += 1
            name = f"mode_{number}"
        return f"{owner}.{name}".lstrip(".")

    def _flag(self, node: fx.Node) -> Any:
        parameters = signature(_function(node)).parameters
        position = list(parameters).index(_FLAG)
        return node.args[position] if position < len(node.args) else node.kwargs.get(_FLAG, parameters[_FLAG].default)

    def _set_flag(self, node: fx.Node) -> None:
        position = list(signature(_function(node)).parameters).index(_FLAG)
        flag = self._constant(node, ByMode(in_training=True, in_evaluation=False))
        if position < len(node.args):
            node.update_arg(position, flag)
        else:
            node.update_kwarg(_FLAG, flag)


def _function(node: fx.Node) -> Callable[..., Any]:
    assert callable(node.target)
    return node.target


def _bounds(value: slice) -> tuple[Any, Any, Any]:
    return value.start, value.stop, value.step
