"""From a backbone's module to its graph, the same in training and in evaluation, and a run of it for its sizes."""

import operator
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from search_space.architecture import Backbone, Shape
from search_space.attention import attends, has_attention, has_attention_modules, multiplies_maps
from search_space.backbones import entry
from search_space.convolutions import ConvolutionWatch, Convolved
from search_space.errors import InputError, first_line
from search_space.graph_nodes import module_path
from search_space.leaves import Leaves, functions_with_a_training_flag, registered_leaves
from search_space.live_memory import LiveBytes
from search_space.mode_constants import DifferenceError, merged


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


def trace_graph(module: nn.Module, backbone: Backbone) -> fx.GraphModule:
    """Return the graph of a backbone, the same in training and in evaluation.

    Functions that take a flag ``training`` are kept whole where the graph is not the same without that.

    Args:
        module: the backbone on the meta device.

    Raises:
        InputError: it cannot be traced, is another network in training than in evaluation, or has attention.
    """
    leaves = registered_leaves()
    try:
        return _traced_in_both_modes(module, leaves)
    except _UntraceableError as error:
        graph = _traced_with_flags(module, leaves)
        if graph is not None:
            return graph
        _check_attention(module, backbone)
        raise InputError(f"backbone {backbone.name} {error}") from error


def run_graph(traced: fx.GraphModule, backbone: Backbone, untraced: nn.Module | None = None) -> Run:
    """Runs a graph on the meta device for one image; every node's ``meta`` gets its shape, its size in
    bytes, the convolutions in it, and which of its inputs it shares memory with.

    Raises:
        InputError: the backbone does not accept images of its input size, changes a map in place that is used again,
            or is a transformer.
    """
    image = torch.empty(1, *backbone.input_size, device="meta")
    try:
        # The counter takes some operations apart, so it comes after what measures them whole.
        convolutions = ConvolutionWatch()
        with torch.no_grad(), convolutions, FlopCounterMode(display=False) as counter, LiveBytes() as live:
            run = _Sizes(traced, live, convolutions)
            logits = run.run(image)
            given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            del logits
    except Exception as error:
        _check_attention(traced if untraced is None else untraced, backbone)
        raise InputError(
            f"backbone {backbone.name} does not accept images of {_size(backbone.input_size)}: {first_line(error)}"
        ) from error
    if multiplies_maps(counter.get_flop_counts().get("Global", {})) and attends(traced, backbone.input_size):
        raise _is_a_transformer(backbone.name)
    _check_in_place_operations(traced, backbone.name)
    if given[:2] != (1, backbone.num_classes):
        raise InputError(f"backbone {backbone.name} gives {given} for an image, not {backbone.num_classes} logits")
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


class _UntraceableError(Exception):
    """torch.fx cannot trace a module, or not into one graph for training and evaluation; the message says where."""


class _BackboneTracer(fx.Tracer):
    """Keeps leaves whole, and small modules that do one thing in training and another in evaluation.

    Args:
        leaves: what libraries have registered. Modules that may hold sites are entered nevertheless.
        whole: types of leaves that are not entered even then.
    """

    def __init__(self, leaves: Leaves, whole: set[type[nn.Module]]) -> None:
        super().__init__(autowrap_functions=tuple(leaves.functions))
        self._leaves = leaves
        self._whole = whole

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Map(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if super().is_leaf_module(m, module_qualified_name) or type(m) in self._whole:
            return True
        if type(m) in self._leaves.modules and not self._may_hold_sites(m):
            return True
        return _asks_whether_training(m) and not any(isinstance(part, nn.Conv2d | nn.Linear) for part in m.modules())

    def _may_hold_sites(self, leaf: nn.Module) -> bool:
        """Whether a leaf has convolutions inside, or other leaves, which may be convolutions of a kind of their own."""
        inside = (part for part in leaf.modules() if part is not leaf)
        return any(isinstance(part, nn.Conv2d) or type(part) in self._leaves.modules for part in inside)

    def leaf_that_was_entered(self) -> type[nn.Module] | None:
        """The innermost leaf that a failed trace has entered and not left, unless it has attention."""
        entered = [self.root.get_submodule(path) for path, _ in reversed(self.module_stack.values())]
        found = next((part for part in entered if type(part) in self._leaves.modules), None)
        return None if found is None or has_attention_modules(found) else type(found)

    def place_of(self, error: Exception) -> str:
        """Where a trace failed: the module's path, and the line of its code."""
        path = next((path for path, _ in reversed(self.module_stack.values())), "")
        libraries = (str(Path(torch.__file__).parent), __file__)
        frames = (f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(libraries))
        lines = [f"{frame.filename}:{frame.lineno}" for frame in frames]
        return "".join((f" at {path}" if path else "", f" ({lines[-1]})" if lines else ""))


def _asks_whether_training(module: nn.Module) -> bool:
    forward = type(module).forward
    forward = getattr(forward, "__wrapped__", forward)
    return "training" in getattr(getattr(forward, "__code__", None), "co_names", ())


def _traced_with_flags(module: nn.Module, leaves: Leaves) -> fx.GraphModule | None:
    """The graph with functions that take a training flag kept whole, if there are any and that helps."""
    functions = functions_with_a_training_flag(module) - leaves.functions
    try:
        return _traced_in_both_modes(module, leaves.with_functions(functions)) if functions else None
    except _UntraceableError:
        return None


def _traced_in_both_modes(module: nn.Module, leaves: Leaves) -> fx.GraphModule:
    """The graph of training merged with that of evaluation, leaves kept whole that cannot be entered."""
    whole: set[type[nn.Module]] = set()
    while True:
        before = len(whole)
        training = _traced(module.train(), leaves, whole)
        evaluation = _traced(module.eval(), leaves, whole)
        if len(whole) == before:
            break
    try:
        graph = merged(training, evaluation, module).eval()
    except DifferenceError as error:
        raise _UntraceableError(
            f"is another network in training than in evaluation, from {error.node.format_node()} at "
            f"{module_path(error.node)} on: switch auxiliary heads off; in code of one's own, give self.training to a "
            "function as its argument training, or make what differs a module without convolutions; otherwise choose "
            "another network"
        ) from error
    _keep_changes(graph)
    return graph


def _traced(module: nn.Module, leaves: Leaves, whole: set[type[nn.Module]]) -> fx.GraphModule:
    """The graph of a module in its mode; ``whole`` is given the types of leaves that cannot be entered."""
    while True:
        tracer = _BackboneTracer(leaves, whole)
        try:
            return fx.GraphModule(module, tracer.trace(module))
        except Exception as error:
            entered = tracer.leaf_that_was_entered()
            if entered is None:
                raise _UntraceableError(
                    f"cannot be traced by torch.fx{tracer.place_of(error)}: {first_line(error)}; in code of one's own, "
                    "put what depends on the values or sizes of maps into a function that torch.fx.wrap keeps whole; "
                    "otherwise choose another network"
                ) from error
            whole.add(entered)


def _keep_changes(traced: fx.GraphModule) -> None:
    """Makes what follows an in-place operation whose result is dropped, such as ``x.mul_(2)``, take that result.

    The operation is then part of the network also where SE comes between the two.
    """
    nodes = list(traced.graph.nodes)
    order = {node: i for i, node in enumerate(nodes)}
    for node in nodes:
        if node.users or not node.all_input_nodes or not _works_in_place(traced, node):
            continue
        changed = node.all_input_nodes[0]
        for user in [user for user in changed.users if order[user] > order[node]]:
            user.replace_input_with(changed, node)
    traced.recompile()


def _check_attention(network: nn.Module, backbone: Backbone) -> None:
    """Raises an InputError if a network, traced or not, has attention at its images' size or at its usual one."""
    channels, *_ = backbone.input_size
    usual = (channels, *entry(backbone.name).usual_input[1:])
    if has_attention(network.eval(), (backbone.input_size, usual)):
        raise _is_a_transformer(backbone.name)


def _is_a_transformer(name: str) -> InputError:
    return InputError(
        f"backbone {name} is a transformer or has attention like one, which multiplies maps with each other: SE scales "
        "the channels of convolutional stages; choose a convolutional network"
    )


class _Sizes(fx.Interpreter):
    """Runs a graph and notes of each node its shape, its storage, and what is alive during and after it."""

    def __init__(self, traced: fx.GraphModule, live: LiveBytes, convolutions: ConvolutionWatch) -> None:
        super().__init__(traced)
        self._live = live
        self._convolutions = convolutions
        self.peaks: list[int] = []
        self.after: list[int] = []

    def run_node(self, n: fx.Node) -> Any:
        # What a node leaves alive shows when the next begins, as only then has its last use been let go.
        self.after.append(self._live.now)
        self._live.peak = self._live.now
        self._convolutions.seen = Convolved()
        result = super().run_node(n)
        self.peaks.append(self._live.peak)
        if isinstance(result, torch.Tensor):
            n.meta["shape"] = tuple(result.shape)
            n.meta["bytes"] = result.nbytes
        if self._convolutions.seen.work:
            n.meta["convolved"] = self._convolutions.seen
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
