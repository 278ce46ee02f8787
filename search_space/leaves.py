"""What a trace keeps whole because a library has registered it as not to be traced."""

import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature, unwrap
from typing import Any

from torch import nn

_FLAG = "training"


@dataclass(frozen=True)
class Leaves:
    """Types of modules and functions that become one node of a graph each.

    Attributes:
        modules: a module of these types is entered all the same if it has convolutions inside and can be traced.
    """

    modules: frozenset[type[nn.Module]] = frozenset()
    functions: frozenset[Callable[..., Any]] = frozenset()

    def with_functions(self, more: Iterable[Callable[..., Any]]) -> "Leaves":
        """Return these leaves and more functions."""
        return Leaves(self.modules, self.functions.union(more))


def registered_leaves() -> Leaves:
    """Return what timm has registered, if timm is imported: a network without timm cannot have its layers."""
    timm = sys.modules.get("timm.models")
    if timm is None:
        return Leaves()
    functions = (function for function in timm.get_notrace_functions() if callable(function))
    return Leaves(frozenset(timm.get_notrace_modules()), frozenset(functions))


def functions_with_a_training_flag(module: nn.Module) -> frozenset[Callable[..., Any]]:
    """Return the functions with a parameter ``training`` that the code of a module's parts can call by name.

    Functions of torch are left out: torch.fx records their calls already.
    """
    codes = {unwrap(type(part).forward) for part in module.modules() if not type(part).__module__.startswith("torch.")}
    values = (value for code in codes for value in getattr(code, "__globals__", {}).values())
    functions = {value for value in values if isinstance(value, types.FunctionType)}
    return frozenset(f for f in functions if not f.__module__.startswith("torch.") and _FLAG in signature(f).parameters)
