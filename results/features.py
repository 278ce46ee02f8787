"""A network without its head: the maps of every stage, for what is built on top of them (detection, segmentation)."""

import torch
from torch import Tensor, fx, nn

from search_space.architecture import Architecture, Shape
from search_space.building import build_without_weights, se_module
from search_space.graph_nodes import shape_of
from search_space.site import Rule, Site
from search_space.tracing import TracedBackbone, trace

_FURTHER_PIXELS = 960
"""A multiple of all usual strides, so that a side of so many pixels more gives whole pixels more of every map."""


class FeatureExtractor(nn.Module):
    """The maps of every stage: what its last site gives, SE included.

    A stage is all sites of one spatial resolution, under the backbone's own name (``layer1``) where it has one. What
    comes between the last site of a network and its head, such as the last 1x1 convolution of a MobileNet, belongs to
    the head.

    Args:
        network: the network of the architecture, whose modules are used as they are.
        architecture: says where the sites are.
        sites: the rule that finds the sites whose stages the maps are of.

    Attributes:
        body: the network up to the last map. The names of its parameters are the network's own.
        channels: C of the maps, by stage, in the order of the network.
        strides: pixels of the image to a pixel of the map, by stage.
    """

    def __init__(self, network: fx.GraphModule, architecture: Architecture, sites: Rule = "auto") -> None:
        super().__init__()
        traced = trace(architecture.backbone, sites)
        last = {site.stage_name: site for site in traced.sites}
        self.body = _cut(network, traced, last)
        without_weights = _cut(build_without_weights(architecture), traced, last).eval()
        self.channels = {stage: shape_of(_output(traced, site))[0] for stage, site in last.items()}
        self.strides = _strides(without_weights, architecture.backbone.input_size)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [N, channels, H, W], of any size that the backbone takes, to maps [N, C, H / stride, W / stride]."""
        maps: dict[str, Tensor] = self.body(images)
        return maps


def _cut(network: fx.GraphModule, traced: TracedBackbone, sites: dict[str, Site]) -> fx.GraphModule:
    """A network that ends with the maps of sites, by the names that they are given."""
    graph = fx.Graph()
    graph.graph_copy(network.graph, {})
    copies = {node.name: node for node in graph.nodes}
    graph.output({name: _with_se(copies[_output(traced, site).name], site) for name, site in sites.items()})
    body = fx.GraphModule(network, graph, class_name=f"Features_{traced.backbone.name}")
    body.graph.eliminate_dead_code()
    body.delete_all_unused_submodules()
    body.recompile()
    return body


def _output(traced: TracedBackbone, site: Site) -> fx.Node:
    """The node of the backbone's graph that a site ends with."""
    return traced.edges[site.name, "post" if "post" in site.shapes else "standard"].origin


def _with_se(node: fx.Node, site: Site) -> fx.Node:
    """The site's SE block, if it stands right there, or else the node itself."""
    return next((user for user in node.users if user.target == se_module(site.name)), node)


def _strides(body: fx.GraphModule, size: Shape) -> dict[str, int]:
    """By how much maps grow with the image: their own sizes would be off where a backbone does not pad."""
    channels, height, width = size
    with torch.no_grad():
        maps, larger = (
            body(torch.empty(1, channels, height + more, width + more, device="meta")) for more in (0, _FURTHER_PIXELS)
        )
    return {name: round(_FURTHER_PIXELS / (larger[name].shape[2] - maps[name].shape[2])) for name in maps}
