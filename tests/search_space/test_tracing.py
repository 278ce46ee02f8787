"""What tracing finds in backbones, and in modules that a user might write."""

import copy

import pytest
import torch
import torch.nn.functional as F
from se_block import se_block
from torch import nn

from search_space.architecture import POSITIONS, Architecture, Position
from search_space.backbones import resolve
from search_space.building import build, se_module
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.uniform_architectures import baselines, uniform
from search_space.variants import Options

AROUND: tuple[Position, ...] = ("standard", "pre", "post", "identity")
"""The positions of every residual block; inside its branch there is another only behind a convolution before others."""


class Net(nn.Module):
    """A stem, a body given as a function of the module and its input, and a head, on three channels."""

    def __init__(self, body, **modules):
        super().__init__()
        self.stem = conv()
        for i in range(1, 5):
            self.add_module(f"conv{i}", conv())
        for name, module in modules.items():
            self.add_module(name, module)
        self.head = nn.Linear(3, 4)
        self.body = body

    def forward(self, x):
        return self.head(self.body(self, self.stem(x)).mean((2, 3)))


def conv(stride=1):
    return nn.Conv2d(3, 3, 3, stride, padding=1)


class Residual(nn.Module):
    def __init__(self, stride=1):
        super().__init__()
        self.conv = conv(stride)
        self.stride = stride

    def forward(self, x):
        return F.relu(self.conv(x) + x[:, :, :: self.stride, :: self.stride])


# additions


def binary_plus(net, x):
    return torch.relu(net.conv1(x) + x)


def shortcut_first(net, x):
    return torch.relu(x + net.conv1(x))


def in_place_plus(net, x):
    out = net.conv1(x)
    out += x
    return F.relu(out, inplace=True)


def torch_add(net, x):
    return F.relu(torch.add(net.conv1(x), x))


def method_add(net, x):
    return net.conv1(x).add(x).relu()


def method_add_in_place(net, x):
    return F.relu(net.conv1(x).add_(x))


def method_relu_in_place(net, x):
    return torch.add(x, net.conv1(x)).relu_()


def module_relu(net, x):
    return net.act(net.conv1(x) + x)


WITH_RELU = [
    binary_plus,
    shortcut_first,
    in_place_plus,
    torch_add,
    method_add,
    method_add_in_place,
    method_relu_in_place,
    module_relu,
]


@pytest.mark.parametrize("position", AROUND)
@pytest.mark.parametrize("body", WITH_RELU, ids=lambda body: body.__name__)
def test_every_spelling_of_a_residual_addition_is_a_site(registered, body, position):
    backbone = registered(lambda: Net(body, act=nn.ReLU(inplace=True)))
    (site,) = trace(backbone).sites
    assert site.shapes == dict.fromkeys(AROUND, (3, 8, 8))
    network = build(Architecture(backbone, ((site.name, se_block(position, (2,), bias=True)),)))
    se = network.get_submodule(se_module(site.name))
    x = torch.randn(2, 3, 8, 8)
    h = network.stem(x)
    expected = {
        "standard": lambda: F.relu(se(network.conv1(h)) + h),
        "pre": lambda: F.relu(network.conv1(se(h)) + h),
        "post": lambda: se(F.relu(network.conv1(h) + h)),
        "identity": lambda: F.relu(network.conv1(h) + se(h)),
    }[position]()
    torch.testing.assert_close(network(x), network.head(expected.mean((2, 3))))
    network(x).sum().backward()
    assert all(p.grad is not None for p in se.parameters())


def test_branches_of_equally_many_convolutions_are_no_site(registered):
    def body(net, x):
        both = net.conv1(x) + net.conv2(x)
        return both + net.conv4(net.conv3(both))

    (site,) = trace(registered(lambda: Net(body)), "residual").sites
    assert site.name == "add_1"


def test_a_projected_shortcut_is_the_side_of_fewer_convolutions(registered):
    def body(net, x):
        return net.conv1(x) + net.conv3(net.conv2(x))

    backbone = registered(lambda: Net(body))
    network = build(Architecture(backbone, (("add", se_block("identity", (2,))),)))
    x = torch.randn(2, 3, 8, 8)
    h = network.stem(x)
    expected = network.se.add(network.conv1(h)) + network.conv3(network.conv2(h))
    torch.testing.assert_close(network(x), network.head(expected.mean((2, 3))))


def test_additions_of_anything_but_two_maps_of_one_shape_are_no_site(registered):
    def body(net, x):
        x = x + 1
        x = x + x
        x = net.conv1(x) + x.mean((2, 3), keepdim=True)
        x = x + net.offset
        return x + net.conv2(x)

    def make():
        net = Net(body)
        net.offset = nn.Parameter(torch.zeros(1, 3, 8, 8))
        return net

    traced = trace(registered(make))
    assert len(traced.sites) == 1
    (origin, targets) = (traced.edges[traced.sites[0].name, "standard"].origin, traced.sites)
    assert origin.target == "conv2"
    assert len(targets) == 1


@pytest.mark.parametrize("position", AROUND)
def test_pre_activation_blocks_have_their_sites(registered, position):
    """x + conv(relu(bn(x))), no activation after the sum (arXiv 1603.05027)."""

    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm2d(3)
            self.conv = conv()

        def forward(self, x):
            return x + self.conv(F.relu(self.bn(x)))

    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = conv()
            self.blocks = nn.Sequential(PreActivation(), PreActivation())
            self.bn = nn.BatchNorm2d(3)
            self.head = nn.Linear(3, 4)

        def forward(self, x):
            return self.head(F.relu(self.bn(self.blocks(self.stem(x)))).mean((2, 3)))

    backbone = registered(Stacked)
    traced = trace(backbone)
    assert [site.name for site in traced.sites] == ["blocks.0", "blocks.1"]
    assert {site.stage_name for site in traced.sites} == {"blocks"}
    network = build(uniform(traced, position=position, options=Options(ratio=1))).eval()
    x = torch.randn(2, 3, 8, 8)
    h = network.stem(x)
    for i in range(2):
        block = network.get_submodule(f"blocks.{i}")
        se = network.get_submodule(se_module(f"blocks.{i}"))

        def branch(x, block=block):
            return block.conv(F.relu(block.bn(x)))

        h = {
            "standard": lambda x, se=se, branch=branch: x + se(branch(x)),
            "pre": lambda x, se=se, branch=branch: x + branch(se(x)),
            "post": lambda x, se=se, branch=branch: se(x + branch(x)),
            "identity": lambda x, se=se, branch=branch: se(x) + branch(x),
        }[position](h)
    expected = network.head(F.relu(network.bn(h)).mean((2, 3)))
    torch.testing.assert_close(network(x), expected)


def test_post_is_behind_the_addition_where_others_use_the_sum_too(registered):
    """The ReLU belongs to the next branch here; the sum itself flows on."""

    def body(net, x):
        total = x + net.conv1(x)
        return torch.relu(total) * total

    network = build(Architecture(registered(lambda: Net(body)), (("add", se_block("post", (2,), bias=True)),)))
    x = torch.randn(2, 3, 8, 8)
    h = network.stem(x)
    total = network.se.add(h + network.conv1(h))
    torch.testing.assert_close(network(x), network.head((torch.relu(total) * total).mean((2, 3))))


def test_pre_scales_every_edge_into_a_forked_branch(registered):
    def body(net, x):
        return F.relu(x + net.conv1(x) * torch.sigmoid(net.conv2(x)))

    network = build(Architecture(registered(lambda: Net(body)), (("add", se_block("pre", (2,), bias=True)),)))
    x = torch.randn(2, 3, 8, 8)
    h = network.stem(x)
    scaled = network.se.add(h)
    expected = F.relu(h + network.conv1(scaled) * torch.sigmoid(network.conv2(scaled)))
    torch.testing.assert_close(network(x), network.head(expected.mean((2, 3))))


# names and stages


def test_sites_are_named_after_nested_modules(registered):
    class Stage(nn.Module):
        def __init__(self, stride):
            super().__init__()
            self.inner = nn.ModuleDict({"first": Residual(stride), "second": Residual()})

        def forward(self, x):
            return self.inner["second"](self.inner["first"](x))

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.left = Stage(1)
            self.right = Stage(2)
            self.head = nn.Linear(3, 4)

        def forward(self, x):
            return self.head(self.right(self.left(x)).mean((2, 3)))

    backbone = registered(Nested)
    sites = trace(backbone).sites
    assert [(site.name, site.stage, site.stage_name) for site in sites] == [
        ("left.inner.first", 1, "left.inner"),
        ("left.inner.second", 1, "left.inner"),
        ("right.inner.first", 2, "right.inner"),
        ("right.inner.second", 2, "right.inner"),
    ]
    assert sites[2].shapes == {
        "standard": (3, 4, 4),
        "pre": (3, 8, 8),
        "post": (3, 4, 4),
        "identity": (3, 4, 4),
    }
    build(uniform(trace(backbone), options=Options(ratio=3)))


def test_a_block_used_twice_is_two_sites(registered):
    backbone = registered(lambda: Net(lambda net, x: net.block(net.block(x)), block=Residual()))
    first, second = trace(backbone).sites
    assert first.name != second.name
    network = build(Architecture(backbone, ((second.name, se_block("standard", (2,), bias=True)),))).eval()
    x = torch.randn(2, 3, 8, 8)
    h = network.stem(x)
    h = F.relu(network.block.conv(h) + h)
    h = F.relu(network.get_submodule(se_module(second.name))(network.block.conv(h)) + h)
    torch.testing.assert_close(network(x), network.head(h.mean((2, 3))))


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("resnet8", {"layer1": [0], "layer2": [0], "layer3": [0]}),
        ("resnet20", {f"layer{i}": [0, 1, 2] for i in (1, 2, 3)}),
        ("resnet18", {f"layer{i}": [0, 1] for i in (1, 2, 3, 4)}),
        ("resnet50", {"layer1": range(3), "layer2": range(4), "layer3": range(6), "layer4": range(3)}),
    ],
)
def test_resnets_have_a_site_at_each_block(name, sites):
    traced = trace(resolve(name, num_classes=10, input_size=(3, 64, 64)))
    expected = [(f"{stage}.{i}", stage) for stage, blocks in sites.items() for i in blocks]
    assert [(site.name, site.stage_name) for site in traced.sites] == expected
    assert [site.stage for site in traced.sites] == [int(stage.removeprefix("layer")) for _, stage in expected]


def test_shapes_of_resnet50_are_the_published_ones():
    traced = trace(resolve("resnet50", num_classes=10, input_size=(3, 224, 224)))
    first = traced.site("layer2.0").shapes
    assert first == {
        "standard": (512, 28, 28),
        "identity": (512, 28, 28),
        "post": (512, 28, 28),
        "pre": (256, 56, 56),
        "3x3": (128, 28, 28),
    }
    assert traced.site("layer1.0").shapes["pre"] == (64, 56, 56)
    assert traced.site("layer4.2").shapes["pre"] == (2048, 7, 7)


def test_shapes_are_those_of_the_maps_that_are_scaled():
    backbone = resolve("resnet20", num_classes=10, input_size=(3, 13, 10), options={"width": 4})
    traced = trace(backbone)
    for position in POSITIONS:
        seen = {}
        network = build(uniform(traced, position=position))
        for site in traced.sites:
            network.get_submodule(se_module(site.name)).register_forward_hook(
                lambda module, inputs, output, name=site.name, seen=seen: seen.update({name: tuple(output.shape[1:])})
            )
        network(torch.randn(2, 3, 13, 10))
        assert seen == {site.name: site.shapes[position] for site in traced.sites}


# networks without residual additions


def test_the_three_layer_cnn_has_a_site_after_each_activation():
    for second, names in ((True, ["conv1", "conv2", "conv3"]), (False, ["conv1", "conv3"])):
        backbone = resolve("cnn3", num_classes=10, input_size=(3, 8, 8), options={"second_conv": second})
        sites = trace(backbone).sites
        assert [site.name for site in sites] == names
        assert [site.stage for site in sites] == [1] * (len(names) - 1) + [2]
        assert all(set(site.shapes) == {"standard"} for site in sites)
        for site in sites:
            assert trace(backbone).edges[site.name, "standard"].origin.target == "relu"


def test_norms_are_passed_before_the_block(registered):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU(inplace=True), conv(), nn.BatchNorm2d(3))
            self.head = nn.Linear(3, 4)

        def forward(self, x):
            return self.head(self.features(x).mean((2, 3)))

    traced = trace(registered(Plain))
    origins = [traced.edges[site.name, "standard"].origin.target for site in traced.sites]
    assert origins == ["features.2", "features.4"]


def test_concatenations_are_sites_rather_than_convolutions(registered):
    def body(net, x):
        return net.mix(torch.cat([net.conv1(x), net.conv3(net.conv2(x))], dim=1))

    backbone = registered(lambda: Net(body, mix=nn.Conv2d(6, 3, 1)))
    (site,) = trace(backbone).sites
    assert site.shapes == {"standard": (6, 8, 8)}
    network = build(uniform(trace(backbone), options=Options(ratio=2)))
    se = network.get_submodule(se_module(site.name))
    x = torch.randn(2, 3, 8, 8)
    h = network.stem(x)
    expected = network.mix(se(torch.cat([network.conv1(h), network.conv3(network.conv2(h))], dim=1)))
    torch.testing.assert_close(network(x), network.head(expected.mean((2, 3))))


# the trace itself


def test_a_trace_makes_no_weights_and_is_made_once():
    backbone = resolve("resnet18", num_classes=10, input_size=(3, 32, 32))
    assert trace(backbone) is trace(copy.deepcopy(backbone))
    assert trace(backbone).backbone == backbone


def test_baselines_are_no_se_and_each_position_everywhere():
    traced = trace(resolve("resnet20", num_classes=10, input_size=(3, 32, 32)))
    named = baselines(traced)
    assert list(named) == ["no SE", *(f"{p} everywhere" for p in POSITIONS)]
    assert named["no SE"].sites == ()
    for position in POSITIONS:
        architecture = named[f"{position} everywhere"]
        assert list(architecture.se) == [site.name for site in traced.sites]
        for site in traced.sites:
            width = max(1, site.shapes[position][0] // 16)
            assert architecture.se[site.name] == se_block(position, (width,), "avg", "sigmoid", False)
    assert len({a.id for a in named.values()}) == 6


def test_baselines_without_residual_additions_have_the_standard_position_alone():
    traced = trace(resolve("cnn3", num_classes=10, input_size=(3, 32, 32)))
    assert list(baselines(traced)) == ["no SE", "standard everywhere"]


def test_uniform_architectures_can_be_confined_to_stages():
    traced = trace(resolve("resnet20", num_classes=10, input_size=(3, 32, 32)))
    for stages in ([], [2], [1, 3], [1, 2, 3]):
        sites = uniform(traced, stages=stages).se
        assert list(sites) == [f"layer{stage}.{i}" for stage in stages for i in range(3)]


# errors


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"stages": [1, 4]}, ["resnet20", "no stage 4", "1 or layer1, 2 or layer2, 3 or layer3"]),
        ({"stages": [0]}, ["no stage 0"]),
        ({"variant": "slow_booth"}, ["SE variant 'slow_booth'", "did you mean 'slow_both'"]),
        ({"position": "psot"}, ["layer1.0", "'psot'", "post"]),
    ],
)
def test_uniform_architectures_that_cannot_be_are_refused(arguments, parts):
    traced = trace(resolve("resnet20", num_classes=10, input_size=(3, 32, 32)))
    check_refused(lambda: uniform(traced, **arguments), *parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"name": "resnet19"}, ["backbone 'resnet19'", "did you mean 'resnet1"]),
        ({"name": "vgg"}, ["backbone 'vgg'", "did you mean 'vgg", "such as: ", "vgg16"]),
        ({"options": {"widht": 4}}, ["option of backbone resnet8 'widht'", "did you mean 'width'"]),
        ({"name": "resnet18", "options": {"width": 4}}, ["option of backbone resnet18 'width'", "one of: stem"]),
        ({"name": "vgg11", "options": {"width": 4}}, ["vgg11", "one of: dropout", "'width'"]),
        *(({"options": {"width": value}}, ["width of resnet8", "integer"]) for value in ("4", 4.0, True, None)),
        *(({"options": {"width": value}}, ["width of resnet8", "at least 1", str(value)]) for value in (0, -4)),
        *(
            ({"name": "cnn3", "options": {"second_conv": value}}, ["second_conv of cnn3", "true or false"])
            for value in (1, "yes")
        ),
    ],
    ids=str,
)
def test_backbones_that_cannot_be_resolved_are_refused(arguments, parts):
    complete = {"name": "resnet8", "num_classes": 10, "input_size": (3, 32, 32)} | arguments
    check_refused(lambda: resolve(**complete), *parts)


def test_options_are_completed_and_sorted():
    given = resolve("cnn3", num_classes=10, input_size=(3, 8, 8), options={"width": 32})
    assert given == resolve("cnn3", num_classes=10, input_size=(3, 8, 8))
    assert given.options == (("second_conv", True), ("width", 32))


@pytest.mark.parametrize("size", [(3, 3, 3), (1, 1, 1), (3, 32, 3)])
def test_images_that_are_too_small_are_refused(size):
    backbone = resolve("cnn3", num_classes=10, input_size=size)
    check_refused(lambda: trace(backbone), "cnn3", "does not accept images of", "x".join(map(str, size)))


def test_modules_that_cannot_be_traced_are_refused(registered):
    backbone = registered(lambda: Net(lambda net, x: x if x.sum() > 0 else -x))
    check_refused(lambda: trace(backbone), backbone.name, "cannot be traced", "control flow")


def test_modules_with_nothing_to_insert_at_are_refused(registered):
    backbone = registered(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)))
    check_refused(lambda: trace(backbone), backbone.name, "no addition, concatenation or convolution")


def check_refused(action, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message
