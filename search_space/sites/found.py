"""An insertion site as it is found in a traced graph, before it has a name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import fx

from search_space.architecture import Position


@dataclass(frozen=True)
class Edges:
    """The edges of the traced graph that a position lies on: from one node to some of its users.

    An SE block at a position scales what flows along all of its edges.

    Attributes:
        origin: the node whose map is scaled.
        targets: the users of ``origin`` that receive the scaled map.
        takes_all: whether every user of ``origin`` receives the scaled map, blocks of other sites included.
    """

    origin: fx.Node
    targets: tuple[fx.Node, ...]
    takes_all: bool = False


@dataclass(frozen=True)
class FoundSite:
    """A site in a traced graph.

    Attributes:
        node: the node that ends the site: an addition, a concatenation, a convolution or the last node of a block.
        module: the dotted path of the module that the site belongs to; empty at the top level of the network.
        name: the site's name, before it is made unique in the network.
        positions: the edges of each position that the site offers.
    """

    node: fx.Node
    module: str
    name: str
    positions: Mapping[Position, Edges] = field(hash=False)


def after(node: fx.Node) -> Edges:
    """Return the edges from a node to all of its users."""
    return Edges(node, tuple(node.users), takes_all=True)
