"""From an architecture to a network: the backbone's graph with SE blocks on the edges they belong to."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import fx

from search_space.architecture import SE, Architecture
from search_space.backbones import instantiate
from search_space.errors import InputError
from search_space.se import SqueezeExcite
from search_space.tracing import TracedBackbone, trace

Edge = tuple[fx.Node, fx.Node]

SE_ROOT = "se"
"""The submodule that holds the SE blocks; all other keys of a network are the backbone's own."""


def build(architecture: Architecture, *, seed: int = 0) -> fx.GraphModule:
    """The network of an architecture, in training mode, with freshly drawn weights.

    The backbone's weights depend on the seed alone and each SE block's on the seed and its site, so that
    architectures of one backbone and one seed share every weight they have in common.

    Raises:
        InputError: the architecture does not fit its backbone; the message names the site.
    """
    traced = trace(architecture.backbone)
    check(traced, architecture)
    with _seeded(seed):
        module = instantiate(architecture.backbone)
    if hasattr(module, SE_ROOT):
        raise InputError(
            f"backbone {architecture.backbone.name} has a module named '{SE_ROOT}', which is where SE blocks go"
        )
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(traced.graph, copies)
    copies[traced.graph.output_node()] = graph.output(result)
    network = fx.GraphModule(module, graph, class_name=f"SE_{architecture.backbone.name}")
    inputs: dict[Edge, fx.Node] = {}
    for site, se in sorted(architecture.sites, key=lambda entry: _order(traced, *entry)):
        with _seeded(seed, site):
            _insert(network, traced, copies, inputs, site, se)
    network.graph.lint()
    network.recompile()
    return network.train()


def se_module(site: str) -> str:
    """The name of the submodule that is a site's SE block: ``se.layer1-0`` for ``layer1.0``.

    There are no dots in it, because sites can lie within each other (``layer1`` and ``layer1.0``) and blocks must not.
    """
    return f"{SE_ROOT}.{site.replace('.', '-')}"


def check(traced: TracedBackbone, architecture: Architecture) -> None:
    """Raises an InputError unless every site of the architecture exists and has its position."""
    for name, se in architecture.sites:
        traced.site(name).shape(se.position)


def _insert(
    network: fx.GraphModule,
    traced: TracedBackbone,
    copies: dict[fx.Node, fx.Node],
    inputs: dict[Edge, fx.Node],
    site: str,
    se: SE,
) -> None:
    """Puts an SE block on the edges of its position; ``inputs`` says what runs along edges that carry one already."""
    channels = traced.site(site).channels(se.position)
    block = SqueezeExcite(channels, se.hidden, squeeze=se.squeeze, excitation=se.excitation, bias=se.bias)
    target = se_module(site)
    network.add_submodule(target, block)
    edges = traced.edges[site, se.position]
    origin = copies[edges.origin]
    users = list(origin.users) if se.position == "post" else [copies[user] for user in edges.targets]
    sources = {inputs.get((origin, user), origin) for user in users}
    if len(sources) > 1:
        raise InputError(f"position '{se.position}' of site {site} crosses the SE blocks of other sites")
    source = sources.pop()
    with network.graph.inserting_after(source):
        scaled = network.graph.call_module(target, (source,))
    for user in users:
        user.replace_input_with(source, scaled)
        inputs[origin, user] = scaled


def _order(traced: TracedBackbone, site: str, se: SE) -> tuple[bool, int]:
    """Sorts POST blocks behind the others, and of those the ones on more edges first.

    One site's POST scales the map that the next site's PRE or Identity takes. Inserted last, it also comes before
    those blocks, which by then are users of that map like any other. Where a site lies within another's branch,
    the outer block comes first and the inner one takes what it gives.
    """
    return se.position == "post", -len(traced.edges[site, se.position].targets)


@contextmanager
def _seeded(*parts: int | str) -> Iterator[None]:
    """torch's CPU generator seeded by the parts inside, and as it was afterwards."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed every GPU as well.
        torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        yield
