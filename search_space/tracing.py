"""A backbone traced once: its graph, its insertion sites, its cost.

Each residual addition ``add(branch, shortcut)`` is a site. The branch is the operand that more convolutions lead
to from where both paths part; the four positions of arXiv 1709.01507 are then edges of the graph:

    standard   the branch's edge into the addition
    identity   the shortcut's edge into the addition
    post       after the addition and the ReLU that follows it
    pre        the edge from the fork into the branch, the shortcut keeping the raw input

A network without such additions has a site after each concatenation or, where it has none, after each
convolution with its norm and activation; there the one position is *standard*.
"""

import operator
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from search_space.architecture import Backbone, Position
from search_space.backbones import instantiate
from search_space.errors import InputError, first_line, unknown
from search_space.site import Shape, Site

_ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Mish)
_ACTIVATION_FUNCTIONS = {torch.relu, torch.relu_, nn.functional.relu, nn.functional.silu, "relu", "relu_"}


@dataclass(frozen=True)
class Edges:
    """Where the positions of a site lie in the traced graph: edges as (from, to) pairs of nodes.

    An SE block at a position scales what flows along all edges of that position; they share their origin.
    """

    origin: fx.Node
    targets: tuple[fx.Node, ...]


@dataclass(frozen=True)
class TracedBackbone:
    """What tracing found; ``flops`` (multiply-adds) and ``params`` are the backbone's own, without any SE."""

    backbone: Backbone
    sites: tuple[Site, ...]
    flops: int
    params: int
    graph: fx.Graph
    edges: dict[tuple[str, Position], Edges]

    def site(self, name: str) -> Site:
        """The site of that name.

        Raises:
            InputError: there is none; the message suggests the nearest.
        """
        if name not in self._by_name:
            raise unknown(f"site of {self.backbone.name}", name, self._by_name)
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Site]:
        return {site.name: site for site in self.sites}


@lru_cache(maxsize=64)
def trace(backbone: Backbone) -> TracedBackbone:
    """Traces a backbone on the meta device: no weights are made, nothing is computed.

    Raises:
        InputError: it cannot be traced, does not accept its input size, or has no site.
    """
    with torch.device("meta"):
        module = instantiate(backbone).eval()
    try:
        traced = fx.symbolic_trace(module)
    except Exception as error:
        raise InputError(f"backbone {backbone.name} cannot be traced by torch.fx: {error}") from error
    _check_in_place_operations(traced, backbone)
    flops = _propagate_shapes(traced, backbone)
    found = list(_residual_sites(traced)) or list(_chain_sites(traced))
    if not found:
        raise InputError(f"backbone {backbone.name} has no addition, concatenation or convolution to insert at")
    names = _unique(_module_path(node) for node, _ in found)
    sites = _number_stages(names, [{p: _shape(e.origin) for p, e in edges.items()} for _, edges in found])
    return TracedBackbone(
        backbone=backbone,
        sites=tuple(sites),
        flops=flops,
        params=sum(p.numel() for p in traced.parameters()),
        graph=traced.graph,
        edges={(name, p): e for name, (_, edges) in zip(names, found, strict=True) for p, e in edges.items()},
    )


def _propagate_shapes(traced: fx.GraphModule, backbone: Backbone) -> int:
    """Annotates every node with its shape for one image and returns the multiply-adds.

    They are those of convolutions and matrix products, the papers' count; norms, activations, pooling and
    additions of the backbone are not counted.
    """
    image = torch.empty(1, *backbone.input_size, device="meta")
    try:
        with FlopCounterMode(display=False) as counter:
            _Shapes(traced).run(image)
    except Exception as error:
        size = "x".join(map(str, backbone.input_size))
        raise InputError(f"backbone {backbone.name} does not accept images of {size}: {first_line(error)}") from error
    return int(counter.get_total_flops()) // 2


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor."""

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            n.meta["shape"] = tuple(result.shape)
        return result


def _check_in_place_operations(traced: fx.GraphModule, backbone: Backbone) -> None:
    """Refuses what a graph cannot express: an operation that changes a map which is used again elsewhere.

    The graph knows values, not memory. An SE block on such a map would see it before the change or after it,
    depending on where it stands.
    """
    for node in traced.graph.nodes:
        if not _works_in_place(traced, node):
            continue
        changed = node.all_input_nodes[0]
        if not node.users or len(changed.users) > 1:
            raise InputError(
                f"backbone {backbone.name} changes a map in place that is used again, at {node.format_node()}: "
                "make a new one there (inplace=False, or + instead of add_)"
            )


def _works_in_place(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    return node.op == "call_function" and bool(node.kwargs.get("inplace", False))


def _residual_sites(traced: fx.GraphModule) -> Iterator[tuple[fx.Node, dict[Position, Edges]]]:
    """The additions whose operands part at a fork and differ in how many convolutions they passed since."""
    reach = _Reach(traced)
    for node in traced.graph.nodes:
        if node.target not in _ADDITIONS or len(node.all_input_nodes) != 2:
            continue
        left, right = node.all_input_nodes
        if not (_is_map(left) and _is_map(right) and _shape(left) == _shape(right)):
            continue
        fork = reach.last_common_ancestor(left, right)
        if fork is None or not _is_map(fork):
            continue
        difference = reach.convolutions_between(fork, left) - reach.convolutions_between(fork, right)
        if difference == 0:
            continue
        branch, shortcut = (left, right) if difference > 0 else (right, left)
        last = _activation_after(traced, node) or node
        entries = tuple(user for user in fork.users if reach.leads_to(user, branch))
        yield (
            node,
            {
                "standard": Edges(branch, (node,)),
                "pre": Edges(fork, entries),
                "post": Edges(last, tuple(last.users)),
                "identity": Edges(shortcut, (node,)),
            },
        )


def _chain_sites(traced: fx.GraphModule) -> Iterator[tuple[fx.Node, dict[Position, Edges]]]:
    """After each concatenation of maps or, where there is none, after each convolution's norm and activation."""
    concatenations = [n for n in traced.graph.nodes if n.target in _CONCATENATIONS and _is_map(n)]
    starts = concatenations or [n for n in traced.graph.nodes if _is_convolution(traced, n)]
    for start in starts:
        last = _norm_after(traced, start) or start
        last = _activation_after(traced, last) or last
        yield start, {"standard": Edges(last, tuple(last.users))}


class _Reach:
    """Which nodes lead to which, as bit sets over the graph's topological order."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self._nodes = list(traced.graph.nodes)
        self._index = {node: i for i, node in enumerate(self._nodes)}
        self._closure: dict[fx.Node, int] = {}
        self._convolutions = 0
        for i, node in enumerate(self._nodes):
            reached = 1 << i
            for source in node.all_input_nodes:
                reached |= self._closure[source]
            self._closure[node] = reached
            if _is_convolution(traced, node):
                self._convolutions |= 1 << i

    def leads_to(self, node: fx.Node, target: fx.Node) -> bool:
        return bool(self._closure[target] >> self._index[node] & 1)

    def last_common_ancestor(self, a: fx.Node, b: fx.Node) -> fx.Node | None:
        common = self._closure[a] & self._closure[b]
        return self._nodes[common.bit_length() - 1] if common else None

    def convolutions_between(self, start: fx.Node, end: fx.Node) -> int:
        return (self._closure[end] & ~self._closure[start] & self._convolutions).bit_count()


def _is_convolution(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), nn.Conv2d)
    return node.target in {torch.conv2d, nn.functional.conv2d}


def _norm_after(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    user = _only_user(node)
    if user is not None and user.op == "call_module":
        return user if isinstance(traced.get_submodule(str(user.target)), _NORMS) else None
    return None


def _activation_after(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    user = _only_user(node)
    if user is None:
        return None
    if user.op == "call_module":
        return user if isinstance(traced.get_submodule(str(user.target)), _ACTIVATIONS) else None
    return user if user.target in _ACTIVATION_FUNCTIONS else None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_map(node: fx.Node) -> bool:
    return len(node.meta.get("shape", ())) == 4


def _shape(node: fx.Node) -> Shape:
    _, channels, height, width = node.meta["shape"]
    return channels, height, width


def _module_path(node: fx.Node) -> str:
    """The dotted path of the module that a node belongs to, or the node's own name at top level."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return paths[-1] if paths else node.name


def _unique(names: Iterable[str]) -> list[str]:
    """Numbers the second and later occurrences of a name."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return unique


def _number_stages(names: list[str], shapes: list[dict[Position, Shape]]) -> Iterator[Site]:
    """Groups sites by the spatial size they put out, in the order of the network."""
    sizes = [shape.get("post", shape["standard"])[1:] for shape in shapes]
    order = list(dict.fromkeys(sizes))
    members = {size: [n for n, s in zip(names, sizes, strict=True) if s == size] for size in order}
    stage_names = [_common_parent(members[size]) for size in order]
    if "" in stage_names or len(set(stage_names)) < len(stage_names):
        stage_names = [f"stage{number}" for number in range(1, len(order) + 1)]
    for name, size, shape in zip(names, sizes, shapes, strict=True):
        stage = order.index(size) + 1
        yield Site(name, stage, stage_names[stage - 1], shape)


def _common_parent(names: list[str]) -> str:
    parents = {name.rpartition(".")[0] for name in names}
    return parents.pop() if len(parents) == 1 else ""
