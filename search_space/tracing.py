"""A backbone traced once: its graph, its insertion sites, its cost."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import fx

from search_space.architecture import SE, Architecture, Backbone, Position, Shape
from search_space.backbone_tracer import Run, run_graph, trace_graph
from search_space.backbones import instantiate_without_weights
from search_space.costs import BlockCost
from search_space.errors import InputError, unknown
from search_space.finding_sites import Edges, find_sites
from search_space.graph_nodes import module_path, shape_of
from search_space.mode_constants import ByMode, constants_of
from search_space.site import Site
from search_space.spans import Span, overlap

SE_ROOT = "se"
"""The submodule that holds the SE blocks; all other keys of a network are the backbone's own."""


@dataclass(frozen=True)
class TracedBackbone:
    """What tracing found.

    Attributes:
        flops: the backbone's own multiply-adds, without any SE.
        params: its own parameters.
        memory: the most bytes of maps that are alive in a forward pass of one image.
        constants: modules that the graph calls and the backbone lacks, by path (:func:`search_space.building.build`
            adds them).
        edges: where the positions of a site lie in the graph.
        spans: what a block there does to the maps that are alive.
    """

    backbone: Backbone
    sites: tuple[Site, ...]
    flops: int
    params: int
    memory: int
    graph: fx.Graph
    constants: dict[str, ByMode]
    edges: dict[tuple[str, Position], Edges]
    spans: dict[tuple[str, Position], Span]

    def site(self, name: str) -> Site:
        """The site of that name.

        Raises:
            InputError: there is none; the message suggests the nearest.
        """
        if name not in self._by_name:
            raise unknown(f"site of {self.backbone.name}", name, self._by_name)
        return self._by_name[name]

    def span(self, name: str, position: Position) -> Span:
        """What a block at a position of a site does to the maps that are alive."""
        return self.spans[name, position]

    def memory_of(self, architecture: Architecture) -> int:
        """The memory of an architecture, found by a run of it without weights."""
        return _memory_by_running(architecture)

    @cached_property
    def spans_overlap(self) -> bool:
        """Whether blocks at different sites can be alive together."""
        return overlap({s.name: [self.spans[s.name, p] for p in s.shapes] for s in self.sites})

    @cached_property
    def prices(self) -> dict[tuple[str, SE], BlockCost]:
        """What is known already of the cost of blocks at sites; :mod:`search_space.costs` fills it."""
        return {}

    @cached_property
    def _by_name(self) -> dict[str, Site]:
        return {site.name: site for site in self.sites}


@lru_cache(maxsize=64)
def trace(backbone: Backbone) -> TracedBackbone:
    """Traces a backbone on the meta device: no weights are made, nothing is computed.

    Raises:
        InputError: it cannot be traced, does not accept its input size, or has no site.
    """
    module = instantiate_without_weights(backbone)
    traced = trace_graph(module, backbone)
    run = run_graph(traced, backbone, module)
    if hasattr(module, SE_ROOT):
        raise InputError(f"backbone {backbone.name} has a module named '{SE_ROOT}', which is where SE blocks go")
    try:
        found = find_sites(traced)
    except InputError as error:
        raise InputError(f"backbone {backbone.name}: {error}") from error
    if not found:
        raise InputError(f"backbone {backbone.name} has no addition, concatenation or convolution to insert at")
    names = _unique(module_path(node) for node, _ in found)
    places = [(n, p, e) for n, (_, edges) in zip(names, found, strict=True) for p, e in edges.items()]
    sites = _number_stages(names, [{p: shape_of(e.origin) for p, e in edges.items()} for _, edges in found])
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    return TracedBackbone(
        backbone=backbone,
        sites=tuple(sites),
        flops=run.flops,
        params=sum(p.numel() for p in traced.parameters()),
        memory=max(run.peaks),
        graph=traced.graph,
        constants=constants_of(traced),
        edges={(name, position): edges for name, position, edges in places},
        spans={(name, position): _span(edges, order, run) for name, position, edges in places},
    )


@lru_cache(maxsize=1 << 12)
def _memory_by_running(architecture: Architecture) -> int:
    from search_space.building import build_without_weights  # which needs this module

    network = build_without_weights(architecture).eval()
    return max(run_graph(network, architecture.backbone).peaks)


def _span(edges: Edges, order: dict[fx.Node, int], run: Run) -> Span:
    """What becomes of the maps alive when what flows along edges is no longer the origin but a block's output."""
    start = order[edges.origin]
    last_of_input = _last_use(edges.origin, order, without=edges.targets)
    last_of_output = max(
        (_last_use(t, order, without=[edges.origin]) if edges.origin in t.meta["shares"] else order[t])
        for t in edges.targets
    )
    end = max(start, min(last_of_input, last_of_output))
    return Span(
        start=start,
        before=run.after[start],
        end=end,
        meanwhile=max(run.peaks[start + 1 : end + 1], default=0),
        output=edges.origin.meta["bytes"],
    )


def _last_use(node: fx.Node, order: dict[fx.Node, int], without: Collection[fx.Node]) -> int:
    """The last node that needs a node's memory, be it by a view or a change in place, some nodes apart."""
    waiting, seen, last = [node], {node, *without}, order[node]
    while waiting:
        current = waiting.pop()
        for user in current.users:
            if user in without:
                continue
            last = max(last, order[user])
            if user not in seen and current in user.meta["shares"]:
                seen.add(user)
                waiting.append(user)
        for source in current.meta["shares"]:
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return last


def _unique(names: Iterable[str]) -> list[str]:
    """Numbers the second and later occurrences of a name, with numbers that make no other's name."""
    given = list(names)
    taken, unique = set(given), []
    seen: Counter[str] = Counter()
    for name in given:
        seen[name] += 1
        numbered = name
        while seen[name] > 1 and (numbered := f"{name}_{seen[name]}") in taken:
            seen[name] += 1
        taken.add(numbered)
        unique.append(numbered)
    return unique


def _number_stages(names: list[str], shapes: list[dict[Position, Shape]]) -> Iterator[Site]:
    """Groups sites by the spatial size they put out, in the order of the network."""
    sizes = [shape.get("post", shape["standard"])[1:] for shape in shapes]
    order = list(dict.fromkeys(sizes))
    members = {size: [n for n, s in zip(names, sizes, strict=True) if s == size] for size in order}
    stage_names = [_common_parent(members[size]) for size in order]
    # A number that is a name would be taken for the number of another stage.
    if "" in stage_names or len(set(stage_names)) < len(stage_names) or any(map(str.isdecimal, stage_names)):
        stage_names = [f"stage{number}" for number in range(1, len(order) + 1)]
    for name, size, shape in zip(names, sizes, shapes, strict=True):
        stage = order.index(size) + 1
        yield Site(name, stage, stage_names[stage - 1], shape)


def _common_parent(names: list[str]) -> str:
    parents = {name.rpartition(".")[0] for name in names}
    return parents.pop() if len(parents) == 1 else ""
