"""Sites of what has no residual additions: concatenations, and convolutions with their norm and activation.

Each has the one position *standard*, behind all that belongs to it.
"""

from collections.abc import Iterator

from torch import fx

from search_space.graph_nodes import (
    activation_after,
    is_concatenation,
    is_convolution,
    module_path,
    norm_after,
    owner,
    shape_of,
)
from search_space.sites.found import FoundSite, after


def concatenation_sites(traced: fx.GraphModule) -> Iterator[FoundSite]:
    """Yield a site for each concatenation of maps; of those within one another, for the outermost alone."""
    for node in traced.graph.nodes:
        if is_concatenation(node) and not _is_within_another(node):
            yield _site(traced, node)


def convolution_sites(traced: fx.GraphModule) -> Iterator[FoundSite]:
    """Yield a site for each convolution, behind its norm and activation."""
    yield from (_site(traced, node) for node in _map_convolutions(traced))


def _map_convolutions(traced: fx.GraphModule) -> list[fx.Node]:
    """Return the convolutions of maps; all convolutions of a network that has none.

    Convolutions of single pixels are the layers of a head, or of SE that the network has already.
    """
    convolutions = [node for node in traced.graph.nodes if is_convolution(node)]
    return [node for node in convolutions if shape_of(node)[1:] != (1, 1)] or convolutions


def _site(traced: fx.GraphModule, start: fx.Node) -> FoundSite:
    last = norm_after(traced, start) or start
    last = activation_after(traced, last) or last
    return FoundSite(start, owner(start), module_path(start), {"standard": after(last)})


def _is_within_another(node: fx.Node) -> bool:
    """Return whether a concatenation goes into another one and nowhere else."""
    return bool(node.users) and all(is_concatenation(user) for user in node.users)
