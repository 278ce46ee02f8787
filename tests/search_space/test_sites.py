"""Which sites each rule finds, where their positions lie, and what a space over them offers."""

import random
from fnmatch import fnmatchcase

import pytest
import torch
import torch.nn.functional as F
from se_block import se_block
from torch import nn

from search_space.architecture import Architecture, Backbone
from search_space.backbone_tracer import trace_graph
from search_space.backbones import entry, instantiate_without_weights, resolve
from search_space.building import build, se_module
from search_space.costs import cost
from search_space.errors import InputError
from search_space.graph_nodes import is_addition, owner, owners
from search_space.site import RULES
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import matching_sites, trace, trace_for
from search_space.uniform_architectures import baselines, uniform


def named(name: str, side: int = 64, **options) -> Backbone:
    return resolve(name, num_classes=10, input_size=(3, side, side), options=options)


def names(backbone: Backbone, sites="auto") -> list[str]:
    return [site.name for site in trace(backbone, sites).sites]


def conv(inputs: int, outputs: int, kernel: int = 3, **options) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Classifier(nn.Module):
    def __init__(self, *body: nn.Module, width: int = 8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.body = nn.Sequential(*body)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Reparameterized(nn.Module):
    """Parallel branches that are one convolution in inference, as in RepVGG and MobileOne."""

    def __init__(self, branches: int, identity: bool, between: nn.Module | None = None):
        super().__init__()
        self.branches = nn.ModuleList(conv(8, 8, 3 if i else 1) for i in range(branches))
        self.identity = nn.BatchNorm2d(8) if identity else None
        self.between = between or nn.Identity()

    def forward(self, x):
        out = 0 if self.identity is None else self.identity(x)
        for branch in self.branches:
            out = self.between(out) + branch(x)
        return F.relu(out)


class Bottleneck(nn.Module):
    """Residual where it can be, as in MobileNet v2."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.expand, self.depthwise = conv(inputs, 16, 1), conv(16, 16, groups=16, stride=stride)
        self.project = conv(16, outputs, 1)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.project(F.relu(self.depthwise(F.relu(self.expand(x)))))
        return x + y if self.is_residual else y


class Aggregated(nn.Module):
    """Concatenated layers behind one 1x1 convolution with an activation, as in VoVNet."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first, self.second = conv(inputs, 8), conv(8, 8)
        self.join = conv(inputs + 16, outputs, 1)
        self.is_residual = inputs == outputs

    def forward(self, x):
        first = F.relu(self.first(x))
        y = F.relu(self.join(torch.cat([x, first, F.relu(self.second(first))], 1)))
        return y + x if self.is_residual else y


class Plain(nn.Module):
    """A basic block, with or without its shortcut."""

    def __init__(self, shortcut: bool):
        super().__init__()
        self.first, self.second, self.shortcut = conv(8, 8), conv(8, 8), shortcut

    def forward(self, x):
        y = self.second(F.relu(self.first(x)))
        return F.relu(y + x if self.shortcut else y)


# sums of parallel branches


@pytest.mark.parametrize("branches", [1, 2, 4])
@pytest.mark.parametrize("between", [None, nn.Dropout(0.0)], ids=["bare", "dropout"])
def test_a_sum_of_parallel_branches_is_one_site_before_the_activation(registered, branches, between):
    backbone = registered(lambda: Classifier(Reparameterized(branches, True, between), Reparameterized(3, False)))
    assert names(backbone) == ["body.0.sum", "body.1.sum"]
    assert all(set(site.shapes) == {"standard"} for site in trace(backbone).sites)
    network = build(Architecture(backbone, (("body.0.sum", se_block("standard", (2,))),))).eval()
    x = torch.randn(2, 3, 8, 8)
    block = network.get_submodule("body.0")
    h = network.stem.get_submodule("2")(F.relu(network.stem.get_submodule("0")(x)))

    def normed(name: str) -> torch.Tensor:
        return block.get_submodule(f"{name}.1")(block.get_submodule(f"{name}.0")(h))

    total = block.identity(h) + sum(normed(f"branches.{i}") for i in range(branches))
    outputs = []
    network.get_submodule(se_module("body.0.sum")).register_forward_hook(lambda _m, args, _o: outputs.append(args[0]))
    network(x)
    torch.testing.assert_close(outputs[0], total)


def test_a_block_of_one_branch_beside_sums_has_its_site_before_the_activation_too(registered):
    backbone = registered(lambda: Classifier(Reparameterized(2, True), Reparameterized(1, False)))
    assert names(backbone) == ["body.0.sum", "body.1"]
    assert trace(backbone).edges["body.1", "standard"].origin.target != "relu"
    assert [user.target for user in trace(backbone).edges["body.1", "standard"].targets] == [F.relu]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(conv(8, 8), nn.ReLU(), conv(8, 8)),
        lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)),
        lambda: nn.Conv2d(8, 8, 3, padding=1),
    ],
    ids=["post-activation", "pre-activation", "linear"],
)
def test_a_branch_beside_its_own_input_stays_a_residual_addition(registered, make):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = make()

        def forward(self, x):
            return F.relu(x + self.branch(x))

    backbone = registered(lambda: Classifier(Residual()))
    assert names(backbone) == names(backbone, "residual") == ["body.0"]
    assert "identity" in trace(backbone).sites[0].shapes


@pytest.mark.parametrize("first_relu", [False, True])
def test_a_projected_shortcut_makes_no_sum_of_parallel_branches(registered, first_relu):
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = nn.Sequential(conv(8, 8), nn.ReLU(), conv(8, 8))
            self.shortcut = nn.Sequential(nn.ReLU() if first_relu else nn.AvgPool2d(1), conv(8, 8, 1))

        def forward(self, x):
            return F.relu(self.branch(x) + self.shortcut(x))

    assert names(registered(lambda: Classifier(Projected()))) == ["body.0"]


def test_sums_of_branches_with_activations_are_one_site_behind_the_whole(registered):
    class Fused(nn.Module):
        """As where branches of several resolutions are fused."""

        def __init__(self):
            super().__init__()
            self.ways = nn.ModuleList(nn.Sequential(conv(8, 8), nn.ReLU(), *[conv(8, 8)] * i) for i in range(1, 4))

        def forward(self, x):
            a, b, c = (way(x) for way in self.ways)
            return F.relu(a + b + c)

    assert names(registered(lambda: Classifier(Fused()))) == ["body.0.sum"]


# blocks without a shortcut


def test_blocks_of_the_class_of_residual_ones_have_sites_too(registered):
    backbone = registered(lambda: Classifier(Bottleneck(8, 8), Bottleneck(8, 6, 2), Bottleneck(6, 6), width=6))
    assert names(backbone, "residual") == ["body.0", "body.2"]
    first, second, third = trace(backbone).sites
    assert (second.name, dict(second.shapes)) == ("body.1", {"standard": (6, 4, 4), "3x3": (16, 4, 4)})
    assert (first.stage, second.stage, third.stage) == (1, 2, 2)
    network = build(Architecture(backbone, (("body.1", se_block("standard", (2,))),))).eval()
    block = network.get_submodule(se_module("body.1"))
    seen = []
    block.register_forward_hook(lambda _module, args, output: seen.append((args[0], output)))
    taken = []
    network.get_submodule("body.2.expand.0").register_forward_hook(lambda _m, args, _o: taken.append(args[0]))
    network(torch.randn(2, 3, 8, 8))
    torch.testing.assert_close(taken[0], seen[0][1])


def test_the_site_of_a_block_that_ends_with_an_activation_is_where_its_residual_peers_have_theirs(registered):
    aggregated = registered(lambda: Classifier(Aggregated(8, 6), Aggregated(6, 6), width=6))
    (before,), (peer,) = ([trace(aggregated).edges[n, "standard"].origin] for n in ("body.0", "body.1"))
    assert [before.target, peer.target] == [F.relu, F.relu]
    plain = registered(lambda: Classifier(Plain(False), Plain(True)))
    assert [trace(plain).edges[n, "standard"].origin.target for n in ("body.0", "body.1")] == [
        "body.0.second.1",
        "body.1.second.1",
    ]


def test_a_stage_of_other_blocks_has_sites_and_the_stem_and_single_layers_have_none(registered):
    class Network(Classifier):
        def __init__(self):
            super().__init__()
            self.plain = nn.Sequential(nn.Sequential(conv(8, 8), conv(8, 8)), nn.Sequential(conv(8, 8), conv(8, 8)))
            self.reduction = nn.Conv2d(8, 8, 2, stride=2)
            self.flat = nn.Sequential(conv(8, 8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU())
            self.residual = nn.Sequential(Plain(True))
            self.last = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1))

        def forward(self, x):
            x = self.flat(self.reduction(self.plain(self.stem(x))))
            return self.head(self.last(self.residual(x)).mean((2, 3)))

    assert names(registered(Network)) == ["plain.0", "plain.1", "flat", "residual.0"]


def test_a_block_that_gives_two_maps_has_no_site(registered):
    class Pair(Bottleneck):
        def forward(self, x):
            return super().forward(x), self.expand(x)

    class Network(Classifier):
        def forward(self, x):
            first, split = self.body
            y, z = split(first(self.stem(x)))
            return self.head(y.mean((2, 3)) + z.mean((2, 3))[:, :8])

    assert names(registered(lambda: Network(Bottleneck(8, 8), Pair(8, 8, 2)))) == ["body.0"]


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "shufflenet_v1"])
def test_the_sites_of_a_network_are_the_same_at_every_image_size(name):
    assert names(named(name, 32)) == names(named(name, 224))


# families


@pytest.mark.parametrize(
    ("name", "residual", "auto"),
    [
        ("resnet18", 8, 8),
        ("resnet50", 16, 16),
        ("mobilenet_v2", 10, 17),
        ("mobilenet_v3_large", 10, 15),
        ("efficientnet_b0", 9, 16),
        ("shake_shake", 12, 12),
        ("vgg11", 8, 8),
        ("densenet121", 62, 62),
        ("timm:ese_vovnet39b", 2, 6),
        ("timm:repvgg_a0", 39, 22),
        ("timm:mobileone_s0", 162, 43),
        ("timm:mobileone_s1", 56, 43),
        ("timm:resnet50d", 16, 16),
        ("timm:convnext_atto", 12, 12),
    ],
)
def test_the_number_of_sites_is_that_of_the_blocks(name, residual, auto):
    backbone = resolve(name, num_classes=10, input_size=entry(name).usual_input)
    assert (len(names(backbone, "residual")), len(names(backbone))) == (residual, auto)


@pytest.mark.parametrize(
    ("published", "plain", "position"),
    [
        ("timm:ese_vovnet39b", {}, "standard"),
        ("timm:repvgg_d2se", {}, "standard"),
        ("mobilenet_v3_large", {}, "3x3"),
        ("mobilenet_v3_small", {}, "3x3"),
    ],
)
def test_each_published_se_block_stands_at_a_site(published, plain, position):
    """The convolution or sum that each block of the published network scales has the position behind it."""
    whole = trace_graph(instantiate_without_weights(named(published)), published)
    stripped = trace(named(published, se="strip", **plain))
    behind = {_source(stripped.edges[site.name, position].origin) for site in stripped.sites}
    own = {
        path
        for node in whole.graph.nodes
        for path, kind in (node.meta.get("nn_module_stack") or {}).values()
        if kind.__name__ in ("SqueezeExcitation", "EffectiveSEModule", "SEModule", "SqueezeExcite")
    }
    scaled = set()
    for path in own:
        inside = [node for node in whole.graph.nodes if owner(node) == path or owner(node).startswith(f"{path}.")]
        scaled |= {_source(source) for node in inside for source in node.all_input_nodes if source not in inside}
    assert len(own) >= 4
    assert scaled <= behind


def _source(node) -> str:
    """The name of the convolution or the addition behind a node, past norms, activations and identities."""
    while not is_addition(node) and "Conv" not in next(reversed(owners(node).values())).__name__:
        node = node.all_input_nodes[0]
    return node.name


# the other rules, and names


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "timm:repvgg_a0"])
def test_one_name_means_one_place_whatever_the_rule(name):
    backbone = named(name)
    every = trace(backbone).every_site
    for rule in RULES:
        for site in trace(backbone, rule).sites:
            assert every[site.name].shapes == site.shapes
    assert len({(e.origin, e.targets, n) for (n, _), e in trace(backbone).edges.items()}) >= len(every)


def test_the_convolutions_of_a_residual_network_are_sites_of_one_position():
    sites = trace(named("resnet18"), "convolutions").sites
    assert len(sites) == 20
    assert {tuple(site.shapes) for site in sites} == {("standard",)}
    assert "layer2.0.downsample.0" in {site.name for site in sites}


def test_patterns_choose_sites_in_the_order_of_the_network():
    backbone = named("resnet18")
    assert names(backbone, ("layer4.*", "layer2.1")) == ["layer2.1", "layer4.0", "layer4.1"]
    assert names(backbone, ("layer1.?.conv2", "layer3.0")) == ["layer1.0.conv2", "layer1.1.conv2", "layer3.0"]
    assert [site.stage_name for site in trace(backbone, ("layer4.*",)).sites] == ["layer4", "layer4"]
    assert [site.stage for site in trace(backbone, ("layer4.*",)).sites] == [4, 4]
    assert matching_sites(backbone, "layer1.*") == ("layer1.0", "layer1.1")
    with pytest.raises(InputError, match=r"site or pattern of sites 'layer9\.0'.*layer1\.0"):
        trace(backbone, ("layer9.0",))


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "timm:repvgg_a0", "shufflenet_v1"])
def test_architectures_over_all_sites_at_once_can_be_built_and_cost_what_a_run_costs(name):
    backbone = named(name, 32)
    traced = trace(backbone)
    rng = random.Random(name)
    for _ in range(3):
        chosen = rng.sample(sorted(traced.every_site), min(12, len(traced.every_site)))
        blocks = []
        for site in chosen:
            position = rng.choice(sorted(traced.site(site).shapes))
            blocks.append((site, se_block(position, (2,))))
        architecture = Architecture(backbone, tuple(blocks))
        network = build(architecture)
        assert sum(p.numel() for p in network.parameters()) == cost(traced, architecture).params
        network(torch.randn(2, 3, 32, 32)).sum().backward()
        assert all(p.grad is not None for p in network.se.parameters())
        assert set(architecture.se) <= {site.name for site in trace_for(architecture).sites}
        assert cost(traced, architecture) == cost(trace_for(architecture), architecture)


# spaces over such sites


def test_a_position_of_a_stage_is_taken_as_standard_by_its_blocks_without_a_shortcut():
    traced = trace(named("mobilenet_v2"))
    space = SearchSpace(traced, SpaceSpec(variant="standard", ratio=4))
    stage = next(name for name in space.parameters if name.endswith(".position"))
    assert space.parameters[stage] == ("standard", "pre", "post", "identity")
    rng = random.Random(0)
    for _ in range(20):
        architecture = space.sample(rng)
        assert architecture in space
        assert space.decode(space.encode(architecture)) == architecture
        assert all(se.position == "standard" for n, se in architecture.sites if not traced.site(n).is_residual)


def test_baselines_of_mixed_networks_have_a_block_at_every_site():
    traced = trace(named("mobilenet_v2"))
    found = baselines(traced)
    assert set(found) == {"no SE", *(f"{p} everywhere" for p in ("standard", "pre", "post", "identity", "3x3"))}
    assert all(len(architecture.sites) == 17 for name, architecture in found.items() if name != "no SE")
    assert len({architecture.id for architecture in found.values()}) == 6


def test_uniform_architectures_of_networks_without_residual_sites_refuse_positions_that_are_missing():
    with pytest.raises(InputError, match="has no position 'pre'"):
        uniform(trace(named("vgg11")), position="pre")


@pytest.mark.parametrize(
    ("sites", "message"),
    [("everywhere", "auto, residual, convolutions"), ([], "not empty"), ([""], "not empty"), ([3], "list of texts")],
)
def test_sites_that_are_no_rule_and_no_list_of_names_are_refused(sites, message):
    with pytest.raises(ValueError, match=message):
        SpaceSpec.model_validate({"sites": sites})


def test_patterns_are_those_of_fnmatch():
    backbone = named("resnet18")
    for pattern in ("layer[12].0", "*.1", "layer?.*"):
        assert list(matching_sites(backbone, pattern)) == [n for n in names(backbone) if fnmatchcase(n, pattern)]
