"""Which nodes of a graph lead to which, as bit sets over the graph's topological order."""

from torch import fx

from search_space.graph_nodes import convolution_work, has_activation, is_convolution


class Reach:
    """Reachability between the nodes of a traced graph, and what lies between two of them."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self._nodes = list(traced.graph.nodes)
        self._index = {node: i for i, node in enumerate(self._nodes)}
        self._closure: dict[fx.Node, int] = {}
        self._work: dict[int, int] = {}
        self._activations = 0
        for i, node in enumerate(self._nodes):
            reached = 1 << i
            for source in node.all_input_nodes:
                reached |= self._closure[source]
            self._closure[node] = reached
            if is_convolution(node):
                self._work[i] = convolution_work(node)
            if has_activation(traced, node):
                self._activations |= 1 << i

    def leads_to(self, node: fx.Node, target: fx.Node) -> bool:
        """Return whether a path leads from a node to a target; a node leads to itself."""
        return bool(self._closure[target] >> self._index[node] & 1)

    def last_common_ancestor(self, *nodes: fx.Node) -> fx.Node | None:
        """Return the last node that leads to all of some nodes, or None if there is none."""
        common = -1
        for node in nodes:
            common &= self._closure[node]
        return self._nodes[common.bit_length() - 1] if common else None

    def convolutions_between(self, start: fx.Node, end: fx.Node) -> list[fx.Node]:
        """Return the convolutions that lead to ``end`` and not to ``start``, in the order of the network."""
        passed = self._between(start, end)
        return [self._nodes[i] for i in self._work if passed >> i & 1]

    def work_between(self, start: fx.Node, end: fx.Node) -> tuple[int, int]:
        """Return the number of convolutions between two nodes and the multiply-adds of all of them."""
        passed = self.convolutions_between(start, end)
        return len(passed), sum(self._work[self._index[node]] for node in passed)

    def is_linear_between(self, start: fx.Node, end: fx.Node) -> bool:
        """Return whether no activation lies between two nodes."""
        return not self._between(start, end) & self._activations

    def is_projection(self, start: fx.Node, end: fx.Node) -> bool:
        """Return whether no activation that lies between two nodes comes after a convolution between them.

        An identity is a projection too, and so is a convolution that an activation comes before.
        """
        between = self._between(start, end)
        convolutions = sum(1 << i for i in self._work if between >> i & 1)
        activations = (i for i in range(between.bit_length()) if between & self._activations & 1 << i)
        return not any(self._closure[self._nodes[i]] & convolutions for i in activations)

    def all_paths_pass(self, start: fx.Node, end: fx.Node, node: fx.Node) -> bool:
        """Return whether every path from ``start`` to ``end`` passes a node."""
        waiting, seen = [end], {node}
        while waiting:
            current = waiting.pop()
            if current is start:
                return False
            if current not in seen and self.leads_to(start, current):
                seen.add(current)
                waiting.extend(current.all_input_nodes)
        return True

    def order(self, node: fx.Node) -> int:
        """Return the place of a node in the graph, counted from 0."""
        return self._index[node]

    def _between(self, start: fx.Node, end: fx.Node) -> int:
        return self._closure[end] & ~self._closure[start]
