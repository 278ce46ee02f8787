"""The sums of parallel branches of a graph: one site behind the whole sum.

A block that is reparameterized for inference adds the outputs of parallel convolutions and of a norm on its input
(RepVGG, arXiv 2101.03697; MobileOne, arXiv 2206.04040). Its additions are written one after another, but they are one
sum, and the published SE variant of such a block scales the sum, before the activation.

A sum is *residual* if one operand is a shortcut: the input of the branches itself or a projection of it, which has no
activation behind a convolution. It is a sum of *parallel branches* if no operand is a shortcut, or if no operand has
an activation and there is more than one branch of convolutions or norms.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import fx

from search_space.graph_nodes import is_addition, is_map, is_norm, is_transparent, only_user, owner, shape_of
from search_space.sites.found import FoundSite, after
from search_space.sites.reach import Reach


@dataclass(frozen=True)
class Sum:
    """Additions that follow one another, of which only the last one's result is used elsewhere.

    Attributes:
        additions: in the order of the graph.
        operands: what is added, two or more maps.
    """

    additions: tuple[fx.Node, ...]
    operands: tuple[fx.Node, ...]

    @property
    def result(self) -> fx.Node:
        """The last addition."""
        return self.additions[-1]


def parallel_sums(traced: fx.GraphModule, reach: Reach) -> list[Sum]:
    """Return the sums of parallel branches, in the order of the network."""
    return [found for found in _sums(traced) if _is_parallel(traced, reach, found)]


def sum_sites(sums: Iterable[Sum]) -> Iterator[FoundSite]:
    """Yield a site for each sum, named after the module that adds, with the one position *standard*."""
    for found in sums:
        module = owner(found.result)
        yield FoundSite(found.result, module, f"{module}.sum" if module else "sum", {"standard": after(found.result)})


def _sums(traced: fx.GraphModule) -> Iterator[Sum]:
    for node in traced.graph.nodes:
        if _adds_maps(node) and not _is_within_another(traced, node):
            additions, operands = _flattened(traced, node)
            yield Sum(tuple(reversed(additions)), tuple(operands))


def _flattened(traced: fx.GraphModule, node: fx.Node) -> tuple[list[fx.Node], list[fx.Node]]:
    """Return an addition with those whose results it alone uses, and what all of them add."""
    additions, operands = [node], []
    for operand in node.all_input_nodes:
        source = _passed_through(traced, operand)
        if _adds_maps(source) and _is_within_another(traced, source):
            inner, added = _flattened(traced, source)
            additions += inner
            operands += added
        else:
            operands.append(operand)
    return additions, operands


def _adds_maps(node: fx.Node) -> bool:
    return is_addition(node) and all(is_map(operand) for operand in node.all_input_nodes)


def _is_within_another(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether the result of an addition is only added to another map of its module and its shape."""
    user = only_user(node)
    while user is not None and is_transparent(traced, user):
        user = only_user(user)
    return user is not None and _adds_maps(user) and owner(user) == owner(node) and shape_of(user) == shape_of(node)


def _passed_through(traced: fx.GraphModule, node: fx.Node) -> fx.Node:
    """Return the node whose result a node passes on as it is."""
    while is_transparent(traced, node) and only_user(node) is not None:
        node = node.all_input_nodes[0]
    return node


def _is_parallel(traced: fx.GraphModule, reach: Reach, found: Sum) -> bool:
    fork = reach.last_common_ancestor(*found.operands)
    if fork is None or not is_map(fork):
        return False
    with_convolutions = [operand for operand in found.operands if reach.convolutions_between(fork, operand)]
    if all(reach.is_linear_between(fork, operand) for operand in found.operands):
        normed = [o for o in found.operands if o not in with_convolutions and _passes_norm(traced, fork, o)]
        return bool(with_convolutions) and len(with_convolutions) + len(normed) > 1
    return bool(with_convolutions) and not any(reach.is_projection(fork, operand) for operand in found.operands)


def _passes_norm(traced: fx.GraphModule, fork: fx.Node, operand: fx.Node) -> bool:
    """Return whether a chain of nodes from the fork to an operand has a norm."""
    while operand is not fork and operand.all_input_nodes:
        if is_norm(traced, operand):
            return True
        operand = operand.all_input_nodes[0]
    return False
