"""The insertion sites of a traced graph, and the edges that their positions lie on.

Each residual addition ``add(branch, shortcut)`` is a site. The branch is the operand that more convolutions lead
to from where both paths part (of as many, the one whose convolutions do more work). The positions of arXiv
1709.01507 are then edges of the graph:

    standard   the branch's edge into the addition
    identity   the shortcut's edge into the addition
    post       after the addition and the activation that follows it
    pre        the edge from the fork into the branch, the shortcut keeping the raw input
    3x3        inside the branch, after its last k x k convolution, depthwise or not, that another one follows, and
               after that convolution's norm; only where all of the branch passes through it

A network without such additions has a site after each concatenation of maps (of those within one another only the
outermost) or, where it has none, after each convolution with its norm and activation; there the one position is
*standard*.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx

from search_space.architecture import Position
from search_space.errors import InputError
from search_space.graph_nodes import (
    activation_after,
    convolution_work,
    has_channels_last,
    is_addition,
    is_concatenation,
    is_convolution,
    is_map,
    kernel_size,
    module_path,
    norm_after,
    shape_of,
)


@dataclass(frozen=True)
class Edges:
    """Where a position lies in the traced graph: edges from one node to others.

    An SE block at a position scales what flows along all edges of that position.
    """

    origin: fx.Node
    targets: tuple[fx.Node, ...]


Found = tuple[fx.Node, dict[Position, Edges]]
"""The node that a site is named after, and where its positions lie."""


def find_sites(traced: fx.GraphModule) -> list[Found]:
    """The sites of a graph whose nodes have their shapes in ``meta["shape"]``, in the order of the network.

    Raises:
        InputError: the maps at a site have their channels last.
    """
    found = list(_residual_sites(traced)) or list(_chain_sites(traced))
    for node, _ in found:
        if has_channels_last(traced, node):
            raise InputError(f"its maps have their channels last, at {module_path(node)}: SE needs them first")
    return found


def _residual_sites(traced: fx.GraphModule) -> Iterator[Found]:
    """The additions whose operands part at a fork and of which one is known to be the branch."""
    reach = _Reach(traced)
    for node in traced.graph.nodes:
        if not is_addition(node):
            continue
        left, right = node.all_input_nodes
        if not (is_map(left) and is_map(right) and shape_of(left) == shape_of(right)):
            continue
        fork = reach.last_common_ancestor(left, right)
        if fork is None or not is_map(fork):
            continue
        work_left, work_right = reach.work_between(fork, left), reach.work_between(fork, right)
        if work_left == work_right:
            continue
        branch, shortcut = (left, right) if work_left > work_right else (right, left)
        last = activation_after(traced, node) or node
        positions: dict[Position, Edges] = {
            "standard": Edges(branch, (node,)),
            "pre": Edges(fork, tuple(user for user in fork.users if reach.leads_to(user, branch))),
            "post": Edges(last, tuple(last.users)),
            "identity": Edges(shortcut, (node,)),
        }
        inside = _after_spatial_convolution(traced, reach, fork, branch)
        if inside is not None:
            positions["3x3"] = Edges(inside, tuple(inside.users))
        yield node, positions


def _after_spatial_convolution(
    traced: fx.GraphModule, reach: "_Reach", fork: fx.Node, branch: fx.Node
) -> fx.Node | None:
    """The norm (or the convolution, where it has none) that the 3x3 position comes after."""
    convolutions = reach.convolutions_between(fork, branch)
    for node in reversed(convolutions[:-1]):
        if kernel_size(traced, node) > 1 and reach.all_paths_pass(fork, branch, node):
            return norm_after(traced, node) or node
    return None


def _chain_sites(traced: fx.GraphModule) -> Iterator[Found]:
    """After each concatenation of maps or, where there is none, after each convolution's norm and activation."""
    concatenations = [n for n in traced.graph.nodes if is_concatenation(n) and not _within_another(n)]
    convolutions = [n for n in traced.graph.nodes if is_convolution(traced, n)]
    # Convolutions of single pixels are the layers of a head, or of SE that the network has already.
    of_maps = [n for n in convolutions if shape_of(n)[1:] != (1, 1)]
    for start in concatenations or of_maps or convolutions:
        last = norm_after(traced, start) or start
        last = activation_after(traced, last) or last
        yield start, {"standard": Edges(last, tuple(last.users))}


def _within_another(node: fx.Node) -> bool:
    """Whether a concatenation goes into another one and nowhere else."""
    return bool(node.users) and all(is_concatenation(user) for user in node.users)


class _Reach:
    """Which nodes lead to which, as bit sets over the graph's topological order."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self._nodes = list(traced.graph.nodes)
        self._index = {node: i for i, node in enumerate(self._nodes)}
        self._closure: dict[fx.Node, int] = {}
        self._work: dict[int, int] = {}
        for i, node in enumerate(self._nodes):
            reached = 1 << i
            for source in node.all_input_nodes:
                reached |= self._closure[source]
            self._closure[node] = reached
            if is_convolution(traced, node):
                self._work[i] = convolution_work(traced, node)

    def leads_to(self, node: fx.Node, target: fx.Node) -> bool:
        return bool(self._closure[target] >> self._index[node] & 1)

    def last_common_ancestor(self, a: fx.Node, b: fx.Node) -> fx.Node | None:
        common = self._closure[a] & self._closure[b]
        return self._nodes[common.bit_length() - 1] if common else None

    def convolutions_between(self, start: fx.Node, end: fx.Node) -> list[fx.Node]:
        passed = self._closure[end] & ~self._closure[start]
        return [self._nodes[i] for i in self._work if passed >> i & 1]

    def work_between(self, start: fx.Node, end: fx.Node) -> tuple[int, int]:
        """How many convolutions are passed, and the multiply-adds of all of them."""
        passed = self.convolutions_between(start, end)
        return len(passed), sum(self._work[self._index[node]] for node in passed)

    def all_paths_pass(self, start: fx.Node, end: fx.Node, node: fx.Node) -> bool:
        """Whether nothing gets from a start to an end but through a node."""
        waiting, seen = [end], {node}
        while waiting:
            current = waiting.pop()
            if current is start:
                return False
            if current not in seen and self.leads_to(start, current):
                seen.add(current)
                waiting.extend(current.all_input_nodes)
        return True
