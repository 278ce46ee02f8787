"""The blocks of a network that no other site lies in: one site behind each.

In most residual networks some blocks have no shortcut, such as those of stride 2 in MobileNet v2, the first ones of
each stage in VoVNet, or reductions between stages. They are known by the modules of the network, beside those that
hold a site already (the *held* modules):

- a module of the same class as a held one is a *sibling block*;
- a module beside a held one, or beside one that a held one lies in, is a *stage*, if it has at least two
  convolutions, one of them spatial. A stage that only passes maps from part to part has a site behind each part of
  two convolutions or more, another one is a block itself. The stem, which has the first convolution of the network,
  is no stage.

*standard* is behind the block, where the published SE variants of VoVNet have theirs; before the block's last
activation, where the held blocks of the same class have it before theirs. *3x3* is inside, as in a residual branch,
where MobileNetV3 has its blocks.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from search_space.architecture import Position
from search_space.graph_nodes import (
    has_activation,
    is_activation,
    is_convolution,
    is_map,
    kernel_size,
    only_user,
    owner,
    owners,
)
from search_space.sites.found import Edges, FoundSite, after
from search_space.sites.reach import Reach
from search_space.sites.residual import after_spatial_convolution


@dataclass(frozen=True, eq=False)
class _Module:
    """A module of the network that was traced into, with its nodes in the order of the graph."""

    path: str
    kind: type
    nodes: list[fx.Node]
    convolutions: list[fx.Node]

    @property
    def parent(self) -> str:
        return _parent(self.path)


def block_sites(traced: fx.GraphModule, reach: Reach, found: Sequence[FoundSite]) -> Iterator[FoundSite]:
    """Yield a site for each block and stage in which no site was found.

    Args:
        found: the sites that are known already.
    """
    modules = _modules(traced)
    held = {site.module for site in found if site.module}
    for module in _without_sites(traced, modules, held):
        output = _only_output(module)
        if output is None:
            continue
        peers = [s for s in found if s.module in modules and modules[s.module].kind is module.kind]
        if peers and is_activation(traced, output) and not _ends_with_activation(traced, peers):
            (source,) = output.all_input_nodes
            output = source if only_user(source) is output else output
        positions: dict[Position, Edges] = {"standard": after(output)}
        entry = _only_input(module)
        inside = None if entry is None else after_spatial_convolution(traced, reach, entry, output)
        if inside is not None and inside is not output:
            positions["3x3"] = after(inside)
        yield FoundSite(output, module.path, module.path, positions)


def _without_sites(traced: fx.GraphModule, modules: dict[str, _Module], held: Collection[str]) -> Iterator[_Module]:
    """Yield the sibling blocks, and then the blocks of stages, that have no site in them."""
    kinds = {modules[path].kind for path in held if path in modules}
    beside = {parent for path in held for parent in _parents(path)}
    first = next((node for node in traced.graph.nodes if is_convolution(node)), None)
    taken = set(held)

    def siblings(module: _Module) -> list[_Module]:
        return [module] if module.kind in kinds and module.convolutions else []

    def stage(module: _Module) -> list[_Module]:
        is_stage = module.parent in beside and _is_stage(module) and first not in module.convolutions
        return _blocks_of(module, modules) if is_stage else []

    for blocks_in in (siblings, stage):
        for module in modules.values():
            path = module.path
            if not _is_within(path, taken) and not any(_is_within(other, [path]) for other in taken):
                found = blocks_in(module)
                taken.update(block.path for block in found)
                yield from found


def _blocks_of(stage: _Module, modules: dict[str, _Module]) -> list[_Module]:
    """Return the parts of a stage that have two convolutions, if the stage does nothing besides; else the stage."""
    parts = [part for part in modules.values() if part.parent == stage.path and len(part.convolutions) > 1]
    if not parts or any(owner(node) == stage.path for node in stage.nodes):
        return [stage]
    return [block for part in parts for block in _blocks_of(part, modules)]


def _modules(traced: fx.GraphModule) -> dict[str, _Module]:
    modules: dict[str, _Module] = {}
    for node in traced.graph.nodes:
        for path, kind in owners(node).items():
            module = modules.setdefault(path, _Module(path, kind, [], []))
            module.nodes.append(node)
            if is_convolution(node):
                module.convolutions.append(node)
    return modules


def _is_stage(module: _Module) -> bool:
    convolutions = module.convolutions
    return len(convolutions) > 1 and any(kernel_size(node) > 1 for node in convolutions)


def _only_output(module: _Module) -> fx.Node | None:
    """Return the node that alone is used outside of a module, if it gives a map."""
    own = set(module.nodes)
    outputs = [node for node in module.nodes if not own.issuperset(node.users)]
    return outputs[0] if len(outputs) == 1 and is_map(outputs[0]) else None


def _only_input(module: _Module) -> fx.Node | None:
    """Return the map that alone comes from outside of a module."""
    own = set(module.nodes)
    inputs = {source for node in module.nodes for source in node.all_input_nodes if source not in own}
    maps = [node for node in inputs if is_map(node)]
    return maps[0] if len(maps) == 1 else None


def _ends_with_activation(traced: fx.GraphModule, peers: Iterable[FoundSite]) -> bool:
    """Return whether blocks of the same class have an activation right before their *standard* position."""
    return all(has_activation(traced, peer.positions["standard"].origin) for peer in peers)


def _parents(path: str) -> Iterator[str]:
    """Yield the parent of a module, the parent's parent, and so on; the network itself is the empty path."""
    while path:
        path = _parent(path)
        yield path


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _is_within(path: str, others: Iterable[str]) -> bool:
    return any(path == other or path.startswith(f"{other}.") for other in others)
