"""A backbone traced once: its graph, its insertion sites, its cost."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from glob import escape

from torch import fx

from search_space.architecture import SE, Architecture, Backbone, Position
from search_space.backbone_tracer import Run, run_graph, trace_graph
from search_space.backbones import instantiate_without_weights
from search_space.costs import BlockCost
from search_space.errors import InputError, unknown
from search_space.graph_nodes import shape_of
from search_space.mode_constants import ByMode, constants_of
from search_space.site import RULES, Site, Sites
from search_space.sites import FoundSites, find_sites
from search_space.sites.found import Edges, FoundSite
from search_space.spans import Span, overlap

SE_ROOT = "se"
"""The submodule that holds the SE blocks; all other keys of a network are the backbone's own."""


@dataclass(frozen=True)
class TracedBackbone:
    """What tracing found.

    Attributes:
        sites: the sites that a space is over, in the order of the network.
        every_site: all sites by name; an architecture can have blocks at any of them.
        flops: the backbone's own multiply-adds, without any SE.
        params: its own parameters.
        memory: the most bytes of maps that are alive in a forward pass of one image.
        constants: modules that the graph calls and the backbone lacks, by path (:func:`search_space.building.build`
            adds them).
        edges: where the positions of a site lie in the graph.
    """

    backbone: Backbone
    sites: tuple[Site, ...]
    every_site: Mapping[str, Site]
    flops: int
    params: int
    memory: int
    graph: fx.Graph
    constants: Mapping[str, ByMode]
    edges: Mapping[tuple[str, Position], Edges]
    _run: Run

    def site(self, name: str) -> Site:
        """The site of that name.

        Raises:
            InputError: there is none; the message suggests the nearest.
        """
        if name not in self.every_site:
            raise unknown(f"site of {self.backbone.name}", name, self.every_site)
        return self.every_site[name]

    def span(self, name: str, position: Position) -> Span:
        """What a block at a position of a site does to the maps that are alive."""
        known = self._spans.get((name, position))
        if known is None:
            known = self._spans[name, position] = _span(self.edges[name, position], self._order, self._run)
        return known

    def memory_of(self, architecture: Architecture) -> int:
        """The memory of an architecture, found by a run of it without weights."""
        return _memory_by_running(architecture)

    @cached_property
    def spans_overlap(self) -> bool:
        """Whether blocks at different ones of the sites can be alive together."""
        return overlap({s.name: [self.span(s.name, p) for p in s.shapes] for s in self.sites})

    def may_overlap(self, architecture: Architecture) -> bool:
        """Return whether blocks of an architecture of this backbone may be alive together."""
        return self.spans_overlap or not self.lists(architecture)

    def lists(self, architecture: Architecture) -> bool:
        """Return whether each block of an architecture of this backbone is at one of the sites."""
        return self._names.issuperset(architecture.se)

    @cached_property
    def prices(self) -> dict[tuple[str, SE], BlockCost]:
        """What is known already of the cost of blocks at sites; :mod:`search_space.costs` fills it."""
        return {}

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(site.name for site in self.sites)

    @cached_property
    def _spans(self) -> dict[tuple[str, Position], Span]:
        return {}

    @cached_property
    def _order(self) -> dict[fx.Node, int]:
        return {node: i for i, node in enumerate(self.graph.nodes)}


@lru_cache(maxsize=256)
def trace(backbone: Backbone, sites: Sites = "auto") -> TracedBackbone:
    """Trace a backbone on the meta device: no weights are made, nothing is computed.

    Args:
        sites: which sites the result lists; each of the backbone's sites can be asked for by name.

    Raises:
        InputError: the backbone cannot be traced, does not accept its input size, or has no site; or a pattern
            matches no site.
    """
    whole = _traced(backbone)
    names = _names_of(sites, whole)
    # Patterns choose among sites whose stages are those of the rule, so that a stage is called the same with fewer.
    numbered = names if isinstance(sites, str) else _in_order(whole, (*whole.found.by_rule["auto"], *names))
    staged = {site.name: site for site in _number_stages(numbered, whole.found.by_name)}
    every = {site.name: site for site in _number_stages(list(whole.found.by_name), whole.found.by_name)}
    return TracedBackbone(
        backbone=backbone,
        sites=tuple(staged[name] for name in names),
        every_site=every | staged,
        flops=whole.run.flops,
        params=whole.params,
        memory=max(whole.run.peaks),
        graph=whole.graph,
        constants=whole.constants,
        edges={(n, p): edges for n, site in whole.found.by_name.items() for p, edges in site.positions.items()},
        _run=whole.run,
    )


def trace_for(architecture: Architecture, sites: Sites | None = None) -> TracedBackbone:
    """Trace the backbone of an architecture, with sites among which are all that have a block.

    Args:
        sites: the sites of the space that the architecture is from, where it is known. Otherwise, or if the
            architecture has a block elsewhere, the first rule counts that finds all sites that have one.

    Raises:
        InputError: as :func:`trace`, or the backbone has no site of such a name.
    """
    for choice in (*(() if sites is None else (sites,)), *RULES):
        traced = trace(architecture.backbone, choice)
        if traced.lists(architecture):
            return traced
    return trace(architecture.backbone, tuple(escape(name) for name in architecture.se))


def matching_sites(backbone: Backbone, pattern: str) -> tuple[str, ...]:
    """Return the names of the sites that a pattern matches, in the order of the network.

    Of the rules it is the first that finds a site of such a name: ``layer3.*`` are the residual blocks of the stage,
    not their convolutions too.

    Raises:
        InputError: the backbone cannot be traced.
    """
    return _matching(_traced(backbone), pattern)


@dataclass(frozen=True)
class _Traced:
    """What tracing finds of a backbone, whichever sites are asked for."""

    graph: fx.Graph
    constants: Mapping[str, ByMode]
    found: FoundSites
    run: Run
    params: int


@lru_cache(maxsize=64)
def _traced(backbone: Backbone) -> _Traced:
    module = instantiate_without_weights(backbone)
    traced = trace_graph(module, backbone)
    run = run_graph(traced, backbone, module)
    if hasattr(module, SE_ROOT):
        raise InputError(f"backbone {backbone.name} has a module named '{SE_ROOT}', which is where SE blocks go")
    try:
        found = find_sites(traced)
    except InputError as error:
        raise InputError(f"backbone {backbone.name}: {error}") from error
    if not found.by_name:
        raise InputError(f"backbone {backbone.name} has no addition, concatenation or convolution to insert at")
    return _Traced(traced.graph, constants_of(traced), found, run, sum(p.numel() for p in traced.parameters()))


def _names_of(sites: Sites, whole: _Traced) -> list[str]:
    if isinstance(sites, str):
        return list(whole.found.by_rule[sites])
    chosen: set[str] = set()
    for pattern in sites:
        names = _matching(whole, pattern)
        if not names:
            raise unknown("site or pattern of sites", pattern, whole.found.by_name)
        chosen.update(names)
    return _in_order(whole, chosen)


def _matching(whole: _Traced, pattern: str) -> tuple[str, ...]:
    for names in whole.found.by_rule.values():
        matched = tuple(name for name in names if fnmatchcase(name, pattern))
        if matched:
            return matched
    return ()


def _in_order(whole: _Traced, names: Iterable[str]) -> list[str]:
    order = {node: i for i, node in enumerate(whole.graph.nodes)}
    return sorted(set(names), key=lambda name: order[whole.found.by_name[name].node])


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


def _number_stages(names: Sequence[str], found: Mapping[str, FoundSite]) -> Iterator[Site]:
    """Groups sites by the spatial size they put out, in the order of the network."""
    shapes = {name: {p: shape_of(edges.origin) for p, edges in found[name].positions.items()} for name in names}
    sizes = {name: shape.get("post", shape["standard"])[1:] for name, shape in shapes.items()}
    order = list(dict.fromkeys(sizes.values()))
    stage_names = [_common_parent([found[name] for name in names if sizes[name] == size]) for size in order]
    # A number that is a name would be taken for the number of another stage.
    if "" in stage_names or len(set(stage_names)) < len(stage_names) or any(map(str.isdecimal, stage_names)):
        stage_names = [f"stage{number}" for number in range(1, len(order) + 1)]
    for name in names:
        stage = order.index(sizes[name]) + 1
        yield Site(name, stage, stage_names[stage - 1], shapes[name])


def _common_parent(sites: Iterable[FoundSite]) -> str:
    parents = {site.module.rpartition(".")[0] for site in sites}
    return parents.pop() if len(parents) == 1 else ""
