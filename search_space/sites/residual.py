"""The residual additions of a graph as sites, with the positions of arXiv 1709.01507.

Each addition ``add(branch, shortcut)`` whose operands part at a fork is a site. The branch is the operand that more
convolutions lead to from the fork (of as many, the one whose convolutions do more work). The positions are then edges
of the graph:

    standard   the branch's edge into the addition
    identity   the shortcut's edge into the addition
    post       after the addition and the activation that follows it
    pre        the edge from the fork into the branch, the shortcut keeping the raw input
    3x3        inside the branch, after its last k x k convolution, depthwise or not, that another one follows, and
               after that convolution's norm; only where all of the branch passes through it
"""

from collections.abc import Iterator

from torch import fx

from search_space.architecture import Position
from search_space.graph_nodes import (
    activation_after,
    is_addition,
    is_map,
    kernel_size,
    module_path,
    norm_after,
    owner,
    shape_of,
)
from search_space.sites.found import Edges, FoundSite, after
from search_space.sites.reach import Reach


def residual_sites(traced: fx.GraphModule, reach: Reach) -> Iterator[FoundSite]:
    """Yield a site for each addition whose operands part at a fork and of which one is known to be the branch."""
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
        positions: dict[Position, Edges] = {
            "standard": Edges(branch, (node,)),
            "pre": Edges(fork, tuple(user for user in fork.users if reach.leads_to(user, branch))),
            "post": after(activation_after(traced, node) or node),
            "identity": Edges(shortcut, (node,)),
        }
        inside = after_spatial_convolution(traced, reach, fork, branch)
        if inside is not None:
            positions["3x3"] = Edges(inside, tuple(inside.users))
        yield FoundSite(node, owner(node), module_path(node), positions)


def after_spatial_convolution(traced: fx.GraphModule, reach: Reach, fork: fx.Node, branch: fx.Node) -> fx.Node | None:
    """Return the norm (or the convolution, where it has none) that the 3x3 position comes after.

    Args:
        fork: the node that the branch begins after.
        branch: the last node of the branch.

    Returns:
        None where the branch has no k x k convolution that all of it passes through and that another one follows.
    """
    convolutions = reach.convolutions_between(fork, branch)
    for node in reversed(convolutions[:-1]):
        if kernel_size(node) > 1 and reach.all_paths_pass(fork, branch, node):
            return norm_after(traced, node) or node
    return None
