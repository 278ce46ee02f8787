"""From a backbone's module to its graph, the same in training and in evaluation, and a run of it for its sizes."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from search_space.architecture import Backbone, Shape
from search_space.errors import InputError, first_line
from search_space.live_memory import LiveBytes

_ATTENTION = ("bmm", "baddbmm", "scaled_dot_product", "native_multi_head_attention")


@dataclass(frozen=True)
class Run:
    """What a forward pass of one image showed.

    Attributes:
        flops: multiply-adds of convolutions and matrix products.
        peaks: bytes of maps alive at the worst moment of each node; the image itself is not counted.
        after: bytes alive after each node, what is not needed any more let go.
    """

    flops: int
    peaks: tuple[int, ...]
    after: tuple[int, ...]


def trace_graph(module: nn.Module, name: str) -> fx.GraphModule:
    """The graph of a backbone.

    Raises:
        InputError: it cannot be traced, or is another network in training than in evaluation.
    """
    training = _traced(module.train(), name)
    evaluation = _traced(module.eval(), name)
    for trained, evaluated in zip(training.graph.nodes, evaluation.graph.nodes, strict=False):
        if trained.format_node() != evaluated.format_node():
            _check_attention_modules(module, name)
            raise InputError(
                f"backbone {name} is another network in training than in evaluation, from {evaluated.format_node()} "
                "on: switch auxiliary heads off, and use modules such as nn.Dropout where self.training matters"
            )
    return evaluation


def run_graph(traced: fx.GraphModule, backbone: Backbone) -> Run:
    """Runs a graph on the meta device for one image; every node's ``meta`` gets its shape, its size in
    bytes, and which of its inputs it shares memory with.

    Raises:
        InputError: the backbone does not accept images of its input size, changes a map in place that is used again,
            or is a transformer.
    """
    image = torch.empty(1, *backbone.input_size, device="meta")
    try:
        # The counter takes some operations apart, so it comes after what measures them whole.
        with torch.no_grad(), FlopCounterMode(display=False) as counter, LiveBytes() as live:
            run = _Sizes(traced, live)
            logits = run.run(image)
            given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            del logits
    except Exception as error:
        _check_attention_modules(traced, backbone.name)
        raise InputError(
            f"backbone {backbone.name} does not accept images of {_size(backbone.input_size)}: {first_line(error)}"
        ) from error
    _check_in_place_operations(traced, backbone.name)
    if given[:2] != (1, backbone.num_classes):
        raise InputError(f"backbone {backbone.name} gives {given} for an image, not {backbone.num_classes} logits")
    for operation in counter.get_flop_counts().get("Global", {}):
        if any(part in str(operation) for part in _ATTENTION):
            raise _is_a_transformer(backbone.name)
    return Run(int(counter.get_total_flops()) // 2, tuple(run.peaks), (*run.after[1:], live.now))


_AUGMENTED = "augmented"
"""The mark of ``x += y`` on a node, which the graph has as ``x + y``."""


class _Map(fx.Proxy):
    """A value that remembers where it was changed in place: torch.fx makes a new value of it without a word."""

    def __iadd__(self, other: Any) -> fx.Proxy:
        return _augmented(self, operator.add, other)

    def __isub__(self, other: Any) -> fx.Proxy:
        return _augmented(self, operator.sub, other)

    def __imul__(self, other: Any) -> fx.Proxy:
        return _augmented(self, operator.mul, other)

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return _augmented(self, operator.truediv, other)


def _augmented(changed: fx.Proxy, operation: Callable[..., Any], other: Any) -> fx.Proxy:
    made = changed.tracer.create_proxy("call_function", operation, (changed, other), {})
    made.node.meta[_AUGMENTED] = True
    return made


class _BackboneTracer(fx.Tracer):
    """Keeps small modules whole that do one thing in training and another in evaluation, such as DropPath."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Map(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if super().is_leaf_module(m, module_qualified_name):
            return True
        return _asks_whether_training(m) and not any(isinstance(part, nn.Conv2d | nn.Linear) for part in m.modules())


def _asks_whether_training(module: nn.Module) -> bool:
    forward = type(module).forward
    forward = getattr(forward, "__wrapped__", forward)
    return "training" in getattr(getattr(forward, "__code__", None), "co_names", ())


def _traced(module: nn.Module, name: str) -> fx.GraphModule:
    try:
        return fx.GraphModule(module, _BackboneTracer().trace(module))
    except Exception as error:
        _check_attention_modules(module, name)
        raise InputError(f"backbone {name} cannot be traced by torch.fx: {first_line(error)}") from error


def _check_attention_modules(module: nn.Module, name: str) -> None:
    if any(_is_self_attention(part) for part in module.modules()):
        raise _is_a_transformer(name)


def _is_self_attention(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return True
    # The attention of torchvision and timm has queries, keys and values; that of channels (CBAM) has not.
    return "Attention" in type(module).__name__ and any("qkv" in name for name, _ in module.named_children())


def _is_a_transformer(name: str) -> InputError:
    return InputError(
        f"backbone {name} is a transformer or has attention like one, which multiplies maps with each other: SE scales "
        "the channels of convolutional stages; choose a convolutional network"
    )


class _Sizes(fx.Interpreter):
    """Runs a graph and notes of each node its shape, its storage, and what is alive during and after it."""

    def __init__(self, traced: fx.GraphModule, live: LiveBytes) -> None:
        super().__init__(traced)
        self._live = live
        self.peaks: list[int] = []
        self.after: list[int] = []

    def run_node(self, n: fx.Node) -> Any:
        # What a node leaves alive shows when the next begins, as only then has its last use been let go.
        self.after.append(self._live.now)
        self._live.peak = self._live.now
        result = super().run_node(n)
        self.peaks.append(self._live.peak)
        if isinstance(result, torch.Tensor):
            n.meta["shape"] = tuple(result.shape)
            n.meta["bytes"] = result.nbytes
        n.meta["shares"] = [source for source in n.all_input_nodes if _share_memory(self.env.get(source), result)]
        # What nothing uses is let go at once by the code that is generated, but not by the interpreter.
        return result if n.users or n.op == "output" else None


def _share_memory(a: Any, b: Any) -> bool:
    def storages(value: Any) -> set[int]:
        return {t.untyped_storage()._cdata for t in tree_iter(value) if isinstance(t, torch.Tensor)}

    return bool(storages(a) & storages(b))


def _check_in_place_operations(traced: fx.GraphModule, name: str) -> None:
    """Refuses what a graph cannot express: an operation that changes a map which is used again elsewhere.

    The graph knows values, not memory. An SE block on such a map would see it before the change or after it,
    depending on where it stands.
    """
    for node in traced.graph.nodes:
        if not _works_in_place(traced, node):
            continue
        changed = node.all_input_nodes[0]
        if not node.users or _is_used_elsewhere(changed, node):
            raise InputError(
                f"backbone {name} changes a map in place that is used again, at {node.format_node()}: "
                "make a new one there (inplace=False, or + instead of add_)"
            )


def _is_used_elsewhere(changed: fx.Node, by: fx.Node) -> bool:
    """Whether a map, or another that is a view of it, goes anywhere but to one node."""
    waiting, seen = [changed], {changed, by}
    while waiting:
        current = waiting.pop()
        views = [user for user in current.users if current in user.meta["shares"] and not _works_on_a_part(user)]
        if any(user is not by and user not in seen and user not in views for user in current.users):
            return True
        origins = [] if _works_on_a_part(current) else current.meta["shares"]
        for other in (*views, *origins):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return False


def _works_on_a_part(node: fx.Node) -> bool:
    return node.target in (operator.getitem, torch.split, torch.chunk, "split", "chunk", "narrow")


def _works_in_place(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op == "call_function" and getattr(node.target, "__name__", "").endswith("_"):
        return True
    if node.meta.get(_AUGMENTED):
        return "shape" in node.all_input_nodes[0].meta
    return node.op == "call_function" and bool(node.kwargs.get("inplace", False))


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape))
