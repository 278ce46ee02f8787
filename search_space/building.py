"""From an architecture to a network: the backbone's graph with SE blocks on the edges they belong to."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor, fx, nn

from search_space.architecture import SE, Architecture, Backbone
from search_space.backbones import instantiate, instantiate_without_weights
from search_space.backbones.pretrained import load_weights
from search_space.errors import InputError
from search_space.mode_constants import add_constants
from search_space.tracing import SE_ROOT, TracedBackbone, trace
from search_space.variants import family
from search_space.variants.settings import check_settings
from search_space.weights import Weights

Edge = tuple[fx.Node, fx.Node]


def build(architecture: Architecture, *, seed: int = 0, weights: Weights | str | None = None) -> fx.GraphModule:
    """The network of an architecture, in training mode, with freshly drawn weights.

    The backbone's weights depend on the seed alone and each SE block's on the seed and its site, so that
    architectures of one backbone and one seed share every weight they have in common.

    Args:
        weights: what to load into the backbone (:func:`search_space.backbones.pretrained.load_weights`).

    Raises:
        InputError: the architecture does not fit its backbone, or the weights do not; the message names the site
            or the key.
    """
    traced = trace(architecture.backbone)
    check(traced, architecture)
    module = deepcopy(_fresh_backbone(architecture.backbone, seed, weights))
    return _insert_all(module, traced, architecture, lambda site: _seeded(seed, site)).train()


def build_without_weights(architecture: Architecture) -> fx.GraphModule:
    """The network of an architecture on the meta device: shapes without memory.

    Raises:
        InputError: the architecture does not fit its backbone; the message names the site.
    """
    traced = trace(architecture.backbone)
    check(traced, architecture)
    module = instantiate_without_weights(architecture.backbone)
    return _insert_all(module, traced, architecture, lambda _: torch.device("meta")).train()


def check_weights(backbone: Backbone, weights: Weights | str) -> None:
    """Raises an InputError unless weights are there and fit a backbone."""
    load_weights(instantiate(backbone), backbone, weights)


@lru_cache(maxsize=2)
def _fresh_backbone(backbone: Backbone, seed: int, weights: Weights | str | None) -> nn.Module:
    """Kept because drawing millions of numbers takes longer than copying them, and trials share them."""
    with _seeded(seed):
        module = instantiate(backbone)
    if weights is not None:
        load_weights(module, backbone, weights)
    return module


def _insert_all(
    module: nn.Module,
    traced: TracedBackbone,
    architecture: Architecture,
    while_drawing: Callable[[str], AbstractContextManager[object]],
) -> fx.GraphModule:
    add_constants(module, traced.constants)
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(traced.graph, copies)
    copies[traced.graph.output_node()] = graph.output(result)
    inputs: dict[Edge, fx.Node] = {}
    blocks = nn.Module()
    for site, se in sorted(architecture.sites, key=lambda entry: _order(traced, *entry)):
        with while_drawing(site):
            block = make_block(se, traced.site(site).channels(se.position))
        blocks.add_module(se_module(site).removeprefix(f"{SE_ROOT}."), block)
        _insert(graph, traced, copies, inputs, site, se)
    if architecture.sites:
        module.add_module(SE_ROOT, blocks)
    network = fx.GraphModule(module, graph, class_name=f"SE_{architecture.backbone.name}")
    network.graph.lint()
    if architecture.sites:
        # A GraphModule takes modules in the order of the graph; the backbone's come first whatever carries SE.
        network.add_module(SE_ROOT, network._modules.pop(SE_ROOT))
    return network


class FromIdentity(nn.Module):
    """``x + a (block(x) - x)`` with a learned number a that starts at zero (as ReZero, arXiv 2003.04887)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.a = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        return torch.lerp(x, self.block(x), self.a)


def make_block(se: SE, channels: int) -> nn.Module:
    """The module of a block on so many channels, its weights drawn from torch's global generator."""
    block = family(se.kind).module(channels, **dict(se.settings))
    return FromIdentity(block) if se.from_identity else block


def se_module(site: str) -> str:
    """The name of the submodule that is a site's SE block: ``se.layer1-0`` for ``layer1.0``.

    There are no dots in it, because sites can lie within each other (``layer1`` and ``layer1.0``) and blocks must not.
    """
    return f"{SE_ROOT}.{site.replace('.', '-')}"


def check(traced: TracedBackbone, architecture: Architecture) -> None:
    """Raises an InputError unless every site exists and has its position, and every block can be made."""
    for name, se in architecture.sites:
        traced.site(name).shape(se.position)
        try:
            check_settings(family(se.kind).module, dict(se.settings))
        except InputError as error:
            raise InputError(f"site {name}: {error}") from error


def _insert(
    graph: fx.Graph,
    traced: TracedBackbone,
    copies: dict[fx.Node, fx.Node],
    inputs: dict[Edge, fx.Node],
    site: str,
    se: SE,
) -> None:
    """Puts an SE block on the edges of its position; ``inputs`` says what runs along edges that carry one already."""
    edges = traced.edges[site, se.position]
    origin = copies[edges.origin]
    users = list(origin.users) if edges.takes_all else [copies[user] for user in edges.targets]
    sources = {inputs.get((origin, user), origin) for user in users}
    if len(sources) > 1:
        raise InputError(f"position '{se.position}' of site {site} crosses the SE blocks of other sites")
    source = sources.pop()
    with graph.inserting_after(source):
        scaled = graph.call_module(se_module(site), (source,))
    for user in users:
        user.replace_input_with(source, scaled)
        inputs[origin, user] = scaled


def _order(traced: TracedBackbone, site: str, se: SE) -> tuple[bool, int]:
    """Sorts blocks that scale all of a map behind the others, and of those the ones on more edges first.

    One site's POST scales the map that the next site's PRE or Identity takes. Inserted last, it also comes before
    those blocks, which by then are users of that map like any other. Where a site lies within another's branch,
    the outer block comes first and the inner one takes what it gives.
    """
    edges = traced.edges[site, se.position]
    return edges.takes_all, -len(edges.targets)


@contextmanager
def _seeded(*parts: int | str) -> Iterator[None]:
    """torch's CPU generator seeded by the parts inside, and as it was afterwards."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed every GPU as well.
        torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        yield
