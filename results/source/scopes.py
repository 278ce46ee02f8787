"""From the flat graph of a network back to modules within modules, each with what it calls in its own forward.

Tracing wrote down which module each node came from. What it does not know is where SE blocks belong, which were
inserted later: a block goes into the innermost module in which what it scales is also used raw, or made.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import fx, nn

from results.source.own_code import traced_alone
from search_space.errors import InputError
from search_space.mode_constants import ByMode, Constant
from search_space.tracing import SE_ROOT

CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)

MANY = 3
"""From so many concatenations on, each of all that came before, maps are said to grow."""


@dataclass(frozen=True)
class Level:
    """One call of a module: ``key`` differs from call to call, ``path`` is where the module is."""

    key: str
    path: str
    type: type[nn.Module]


Place = tuple[Level, ...]
"""The calls that something happens in, from the outermost."""


@dataclass(eq=False)
class Scope:
    """A call of a module and, in order, what it calls: nodes, and modules of the network's own.

    Attributes:
        inputs: the values from outside, in the order of their use.
        outputs: the nodes within whose values are used outside.
    """

    level: Level
    items: "list[fx.Node | Scope]" = field(default_factory=list)
    inputs: list[fx.Node] = field(default_factory=list)
    outputs: list[fx.Node] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Where the module is in the network; empty for the network itself."""
        return self.level.path

    def all(self) -> "Iterator[Scope]":
        """This scope and all within it."""
        yield self
        for item in self.items:
            if isinstance(item, Scope):
                yield from item.all()

    def nodes(self) -> Iterator[fx.Node]:
        """All nodes within, those of scopes within included."""
        for item in self.items:
            if isinstance(item, Scope):
                yield from item.nodes()
            else:
                yield item


def scopes_of(model: fx.GraphModule) -> Scope:
    """The scope of a whole network.

    Raises:
        InputError: its modules cannot be called one after the other.
    """
    graph, places = _with_blocks_opened(model)
    flat: set[str] = set()
    while True:
        root = _nested(model, graph, places, flat)
        found = _cannot_be_called(root)
        if found:
            flat |= found
        elif any(_late(scope) for scope in root.all()):
            raise InputError(
                "the modules of this network cannot be written as Python: they take turns in ways of their own"
            )
        else:
            return root


def is_tensor_of(scope: Scope, node: fx.Node) -> bool:
    """Whether a node is a parameter or buffer of a scope's module, or of one in it."""
    return node.op == "get_attr" and relative(str(node.target), scope.path) is not None


def relative(path: str, scope: str) -> str | None:
    """A module's path as seen from another, None if it is not within that."""
    if not scope:
        return path
    return path[len(scope) + 1 :] if path.startswith(f"{scope}.") else None


def _place(node: fx.Node) -> Place:
    levels = [Level(key, path, kind) for key, (path, kind) in (node.meta.get("nn_module_stack") or {}).items() if path]
    return tuple(levels[:-1] if node.op == "call_module" else levels)


def _with_blocks_opened(model: fx.GraphModule) -> tuple[fx.Graph, dict[fx.Node, Place]]:
    """The network's graph with the nodes of each SE block in the place of its call, and the place of every node.

    The constants that differ between training and evaluation are nodes of the modules that use them.
    """
    homes = _places(model.graph)
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    places: dict[fx.Node, Place] = {}
    for node in model.graph.nodes:
        called = model.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(called, ByMode):
            copies[node] = _by_mode(graph, node.target.rpartition(".")[0], called, homes[node], places)
            continue
        opened = traced_alone(model.get_submodule(node.target)) if _is_block(node) else None
        if opened is None:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            places[copies[node]] = homes[node]
            continue
        block = Level(node.target, node.target, type(opened[0]))
        within: dict[fx.Node, fx.Node] = {}
        for part in opened[1].nodes:
            if part.op == "placeholder":
                within[part] = copies[node.args[0]]
            elif part.op == "output":
                copies[node] = within[part.args[0]]
            else:
                copy = within[part] = graph.node_copy(part, within.__getitem__)
                if part.op in ("call_module", "get_attr"):
                    copy.target = f"{node.target}.{part.target}"
                inner = (Level(f"{node.target}.{x.key}", f"{node.target}.{x.path}", x.type) for x in _place(part))
                places[copy] = (*homes[node], block, *inner)
    return graph, places


def by_mode(training: bool, in_training: Constant, in_evaluation: Constant) -> Constant:
    """Return one of two constants; a file has it as ``in_training if training else in_evaluation``."""
    return in_training if training else in_evaluation


def _by_mode(graph: fx.Graph, owner: str, constant: ByMode, home: Place, places: dict[fx.Node, Place]) -> fx.Node:
    """A node for a constant, with the mode of its owner in the place of the module that tracing made."""
    found = flag = graph.get_attr(f"{owner}.training".lstrip("."))
    if (constant.in_training, constant.in_evaluation) != (True, False):
        found = graph.call_function(by_mode, (flag, constant.in_training, constant.in_evaluation))
    places[flag] = places[found] = home
    return found


def is_of_blocks(path: str) -> bool:
    """Whether a module is an SE block, or within one."""
    return path.startswith(f"{SE_ROOT}.")


def _is_block(node: fx.Node) -> bool:
    return node.op == "call_module" and is_of_blocks(str(node.target))


def _places(graph: fx.Graph) -> dict[fx.Node, Place]:
    places = {node: _place(node) for node in graph.nodes}
    for block in reversed([node for node in graph.nodes if _is_block(node)]):
        places[block] = _home(block, places)
    for node in reversed(graph.nodes):
        if node.target in CONCATENATIONS:
            places[node] = _outside(node, places)
    return places


def _home(block: fx.Node, places: dict[fx.Node, Place]) -> Place:
    """The innermost call that has all uses of what a block gives, and another use, or the origin, of what it takes."""
    source = block.all_input_nodes[0]
    home = _common([places[user] for user in block.users])
    others = [places[user] for user in source.users if user is not block]
    while home and not _is_within(places[source], home) and not any(_is_within(other, home) for other in others):
        home = home[:-1]
    return home


def _outside(node: fx.Node, places: dict[fx.Node, Place]) -> Place:
    """Where a concatenation goes that only puts together what a module is given: to its caller (DenseNet's layers).

    One of a single map, which a dense block begins with, goes no further than to the first caller.
    """
    place = places[node]
    sources = node.all_input_nodes
    if len(sources) == 1 and not _is_within(places[sources[0]], place):
        return place[:-1]
    while place and not any(_is_within(places[source], place) for source in sources):
        place = place[:-1]
    return place


def _is_within(place: Place, other: Place) -> bool:
    return place[: len(other)] == other


def _common(places: list[Place]) -> Place:
    first, *others = places
    while not all(_is_within(other, first) for other in others):
        first = first[:-1]
    return first


def _nested(model: fx.GraphModule, graph: fx.Graph, places: dict[fx.Node, Place], flat: set[str]) -> Scope:
    root = Scope(Level("", "", type(model)))
    scopes: dict[Place, Scope] = {(): root}

    def scope_at(place: Place) -> Scope:
        if place not in scopes:
            parent = scope_at(place[:-1])
            if place[-1].path in flat:
                scopes[place] = parent
            else:
                scopes[place] = Scope(place[-1])
                parent.items.append(scopes[place])
        return scopes[place]

    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            root.items.append(node)
        else:
            scope_at(places[node]).items.append(node)
    for scope in set(scopes.values()):
        within = set(scope.nodes())
        sources = [source for node in scope.nodes() for source in node.all_input_nodes]
        sources = [source for source in sources if source not in within and not is_tensor_of(scope, source)]
        scope.inputs = list(dict.fromkeys(sources))
        made = [node for node in scope.nodes() if node.op != "get_attr"]
        scope.outputs = [node for node in made if any(user not in within for user in node.users)]
        # What nothing uses is called all the same, for it may count in the statistics of a norm.
        scope.outputs = scope.outputs or made[-1:]
    return root


def _cannot_be_called(root: Scope) -> set[str]:
    """The modules whose parts their caller has to call itself, for the one call would come too early or too late.

    Chains (``nn.Sequential``) with SE blocks between their parts are among them, what is called twice with SE in one
    of the calls, and what would have to be given several blocks: its caller then shows where they stand. Dense blocks
    are given theirs all the same.
    """
    found: set[str] = set()
    for scope in root.all():
        found |= _out_of_order(scope)
        if scope is root:
            continue
        if issubclass(scope.level.type, nn.Sequential) and not is_chain(scope):
            found.add(scope.path)
        if len(modules_from_outside(scope)) > 1 and not grows(scope):
            found.add(scope.path)
    calls: dict[str, set[tuple[object, ...]]] = {}
    for scope in root.all():
        calls.setdefault(scope.path, set()).add(_outline(scope))
    return found.union(path for path, outlines in calls.items() if len(outlines) > 1)


def grows(scope: Scope) -> bool:
    """Whether it concatenates ever more maps, as dense blocks do: as one class that reads better, SE blocks and all."""
    return sum(isinstance(item, fx.Node) and item.target in CONCATENATIONS for item in scope.items) >= MANY


def _outline(scope: Scope) -> tuple[object, ...]:
    """What calls of one module have in common, unless an SE block stands in one of them and not in another."""
    nodes = tuple((node.op, node.target) for node in scope.nodes())
    return nodes, len(scope.inputs), len(scope.outputs), tuple(modules_from_outside(scope))


def _out_of_order(scope: Scope) -> set[str]:
    """The scopes in one that need what is made only after their first node, and those that make it."""
    found: set[str] = set()
    for item in _late(scope):
        makers = (other for other in scope.items if isinstance(other, Scope))
        found |= {other.path for other in makers if set(other.nodes()) & set(_needed(item))}
        if isinstance(item, Scope):
            found.add(item.path)
    # An SE block is never late by its own fault, as all of it follows what it scales.
    return {path for path in found if not is_of_blocks(path)}


def _late(scope: Scope) -> "list[fx.Node | Scope]":
    """What a scope calls before all that it needs is made."""
    made: set[fx.Node] = set(scope.inputs)
    late = []
    for item in scope.items:
        if not made.issuperset(_needed(item)):
            late.append(item)
        made.update(item.nodes() if isinstance(item, Scope) else [item])
    return late


def _needed(item: "fx.Node | Scope") -> list[fx.Node]:
    sources = item.inputs if isinstance(item, Scope) else item.all_input_nodes
    return [source for source in sources if source.op != "get_attr"]


def is_chain(scope: Scope) -> bool:
    """Whether its parts are called one after the other, each once and with what the one before gave."""
    parts = [called_path(item) for item in scope.items]
    names = [None if part is None else relative(part, scope.path) for part in parts]
    if len(scope.inputs) != 1 or None in names or len(set(names)) < len(names):
        return False
    if any(name is None or "." in name for name in names) or modules_from_outside(scope):
        return False
    given = scope.inputs[0]
    for item in scope.items:
        gives = item.outputs if isinstance(item, Scope) else [item]
        if _needed(item) != [given] or len(gives) != 1 or (isinstance(item, fx.Node) and item.args != (given,)):
            return False
        given = gives[0]
    return scope.outputs == [given]


def modules_from_outside(scope: Scope) -> list[str]:
    """The paths of modules that are called within and lie elsewhere: SE blocks, and modules that several share."""
    found: dict[str, None] = {}
    for item in scope.items:
        called = [*modules_from_outside(item), item.path] if isinstance(item, Scope) else [called_path(item)]
        for path in called:
            if path is not None and relative(path, scope.path) is None:
                found[path] = None
    return list(found)


def called_path(item: fx.Node | Scope) -> str | None:
    """The module that an item calls, if it calls one."""
    if isinstance(item, Scope):
        return item.path
    return str(item.target) if item.op == "call_module" else None
