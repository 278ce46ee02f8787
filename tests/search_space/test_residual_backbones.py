"""The backbones written here, against the figures and the details that their papers and authors give."""

import operator

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from search_space.backbones.mobilenet_v1 import mobilenet_v1
from search_space.backbones.preact_resnet import DEPTHS as PREACT_DEPTHS
from search_space.backbones.preact_resnet import PreactBottleneck, preact_resnet
from search_space.backbones.resnet_v1 import DEPTHS as V1_DEPTHS
from search_space.backbones.resnet_v1 import resnet_v1, resnext101_32x4d
from search_space.backbones.senet154 import GroupedBottleneck, senet154
from search_space.backbones.shake_shake import Shake, TwoPaths, shake_shake
from search_space.backbones.shufflenet_v1 import Shuffle, shufflenet_v1
from search_space.backbones.wide_resnet import WideBlock, wide_resnet
from search_space.errors import InputError

# name: how to make it, the side of its images
PUBLISHED = {
    "preact_resnet164": (lambda: preact_resnet(164, 3, 10), 32),
    "wrn-16-8": (lambda: wide_resnet(3, 10), 32),
    "wrn-28-10": (lambda: wide_resnet(3, 10, depth=28, widen=10), 32),
    "wrn-40-4": (lambda: wide_resnet(3, 10, depth=40, widen=4), 32),
    "shake_shake 26 2x96d": (lambda: shake_shake(3, 10), 32),
    "resnet50": (lambda: resnet_v1(50, 3, 1000), 224),
    "resnet101": (lambda: resnet_v1(101, 3, 1000), 224),
    "resnet152": (lambda: resnet_v1(152, 3, 1000), 224),
    "resnext101_32x4d": (lambda: resnext101_32x4d(3, 1000), 224),
    "mobilenet": (lambda: mobilenet_v1(3, 1000), 224),
    "shufflenet": (lambda: shufflenet_v1(3, 1000), 224),
    "senet154": (lambda: senet154(3, 1000), 224),
}

# the same code, small enough to compute with
SMALL = {
    "preact_resnet": lambda: preact_resnet(20, 1, 5, width=4),
    "wide_resnet": lambda: wide_resnet(1, 5, depth=10, widen=1),
    "wide_resnet with dropout": lambda: wide_resnet(1, 5, depth=16, widen=2, dropout=0.3),
    "shake_shake": lambda: shake_shake(1, 5, depth=14, width=6),
    "resnet50": lambda: resnet_v1(50, 1, 5),
    "mobilenet": lambda: mobilenet_v1(1, 5, width=0.25),
    "shufflenet": lambda: shufflenet_v1(1, 5, width=0.25),
    "shufflenet in 8 groups": lambda: shufflenet_v1(1, 5, groups=8, width=0.5),
    "senet154 cifar": lambda: senet154(1, 5, stem="cifar"),
}


def on_meta(make) -> nn.Module:
    with torch.device("meta"):
        return make().eval()


def params(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def gflops(network: nn.Module, side: int) -> float:
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() // 2 / 1e9


class Tracer(fx.Tracer):
    """Keeps :class:`Shake` whole, as it asks for."""

    def is_leaf_module(self, m, module_qualified_name):
        return isinstance(m, Shake) or super().is_leaf_module(m, module_qualified_name)


def trace(network: nn.Module) -> fx.GraphModule:
    return fx.GraphModule(network, Tracer().trace(network))


# published figures


@pytest.mark.parametrize(
    ("name", "millions"),
    {
        "preact_resnet164": 1.7,
        "wrn-16-8": 11.0,
        "wrn-28-10": 36.5,
        "wrn-40-4": 8.9,
        "shake_shake 26 2x96d": 26.2,
        "resnet50": 25.6,
        "mobilenet": 4.2,
        "shufflenet": 1.8,
    }.items(),
)
def test_parameters_as_published(name, millions):
    make, _ = PUBLISHED[name]
    assert params(on_meta(make)) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize(
    ("name", "published", "within"),
    [
        ("resnet50", 3.86, 0.01),
        ("resnet101", 7.58, 0.01),
        ("resnet152", 11.30, 0.02),
        ("resnext101_32x4d", 7.99, 0.021),  # 7.970, and nothing in the paper tells the difference
        ("mobilenet", 0.569, 0.0005),
        ("shufflenet", 0.140, 0.003),
    ],
)
def test_multiply_adds_as_published(name, published, within):
    make, side = PUBLISHED[name]
    assert gflops(on_meta(make), side) == pytest.approx(published, abs=within)


def test_parameters_of_resnet50_are_exact():
    assert params(on_meta(PUBLISHED["resnet50"][0])) == 25_557_032


def test_senet154_with_its_se_blocks_has_the_parameters_of_the_released_model():
    network = on_meta(PUBLISHED["senet154"][0])
    channels = [block.conv3.out_channels for block in network.modules() if isinstance(block, GroupedBottleneck)]
    se = sum(2 * c * (c // 16) + c // 16 + c for c in channels)
    assert params(network) + se == 115_088_984


# what a graph tool needs


@pytest.mark.parametrize("make", [make for make, _ in PUBLISHED.values()], ids=PUBLISHED)
def test_training_and_evaluation_have_one_graph(make):
    network = on_meta(make)
    assert str(trace(network.train()).graph) == str(trace(network.eval()).graph)


@pytest.mark.parametrize(
    ("name", "blocks"),
    {
        "preact_resnet164": 3 * 18,
        "wrn-28-10": 3 * 4,
        "shake_shake 26 2x96d": 3 * 4,
        "resnet50": 3 + 4 + 6 + 3,
        "mobilenet": 0,
        "shufflenet": 3 + 7 + 3,
        "senet154": 3 + 8 + 36 + 3,
    }.items(),
)
def test_each_residual_block_is_one_addition(name, blocks):
    nodes = trace(on_meta(PUBLISHED[name][0])).graph.nodes
    assert sum(node.target in {operator.add, operator.iadd} for node in nodes) == blocks


class Versions(fx.Interpreter):
    """Runs a graph and notes each map with the number of changes it had seen when it was made."""

    def run_node(self, n):
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.made[n] = result, result._version
        return result


@pytest.mark.parametrize(("make", "side"), PUBLISHED.values(), ids=PUBLISHED)
def test_no_map_that_is_used_twice_is_changed_in_place(make, side):
    run = Versions(trace(on_meta(make)))
    run.made = {}
    run.run(torch.empty(1, 3, side, side, device="meta"))
    for node, (made, version) in run.made.items():
        assert made._version == version or len(node.users) == 1, node


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_the_traced_network_computes_what_the_network_does(make):
    torch.manual_seed(0)
    network = make().eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        logits = network(images)
        assert torch.equal(trace(network)(images), logits)
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", [name for name in SMALL if name not in {"resnet50", "senet154 cifar"}])
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    network = SMALL[name]().train()
    nn.functional.cross_entropy(network(torch.randn(4, 1, 32, 32)), torch.tensor([0, 1, 2, 3])).backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.any(), path


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 40)])
@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_images_of_many_sizes_give_logits(make, size):
    assert on_meta(make)(torch.empty(3, 1, *size, device="meta")).shape == (3, 5)


# depths and other choices


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: preact_resnet(160, 3, 10), "depth of 9n \\+ 2, such as 155 or 164, not 160"),
        (lambda: preact_resnet(2, 3, 10), "such as 11 or 20, not 2"),
        (lambda: wide_resnet(3, 10, depth=27), "depth of 6n \\+ 4, such as 22 or 28, not 27"),
        (lambda: wide_resnet(3, 10, depth=4), "such as 10 or 16, not 4"),
        (lambda: wide_resnet(3, 10, dropout=1.0), "at least 0 and below 1, not 1.0"),
        (lambda: shake_shake(3, 10, depth=28), "depth of 6n \\+ 2, such as 26 or 32, not 28"),
        (lambda: resnet_v1(34, 3, 10), "depth of 50, 101, 152, not 34"),
        (lambda: mobilenet_v1(3, 10, width=0.0), "above 0, not 0.0"),
        (lambda: shufflenet_v1(3, 10, groups=5), "1, 2, 3, 4, 8 groups, not 5"),
        (lambda: shufflenet_v1(3, 10, width=-1.0), "above 0, not -1.0"),
        (lambda: senet154(3, 10, stem="svhn"), "imagenet or cifar, not 'svhn'"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(make, message):
    with torch.device("meta"), pytest.raises(InputError, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)


def convolutions(network: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1) for m in network.modules())


@pytest.mark.parametrize("depth", [10, 16, 28, 40])
def test_a_wide_resnet_is_as_deep_as_it_says(depth):
    # the 3x3 convolutions; the three projections and the classifier make the other four of a depth's layers
    assert convolutions(on_meta(lambda: wide_resnet(3, 10, depth=depth, widen=2))) + 3 == depth


@pytest.mark.parametrize("depth", [8, 14, 26])
def test_a_shake_shake_network_is_as_deep_as_it_says(depth):
    network = on_meta(lambda: shake_shake(3, 10, depth=depth, width=8))
    assert (convolutions(network) - 1) / 2 + 2 == depth


@pytest.mark.parametrize("depth", PREACT_DEPTHS)
def test_a_preact_resnet_is_as_deep_as_it_says(depth):
    layers = [m for m in on_meta(lambda: preact_resnet(depth, 3, 10)).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) - 3 == depth  # without the projections


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("width", [0.1, 0.5, 1.0, 1.5])
def test_shufflenets_of_all_groups_and_widths_can_be_made(groups, width):
    network = on_meta(lambda: shufflenet_v1(3, 7, groups=groups, width=width))
    assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 7)
    assert network.stage4[0].branch.depthwise.stride == (2, 2)


# what distinguishes each network


@pytest.mark.parametrize("block", [PreactBottleneck(8, 8, 1), WideBlock(8, 8, 1, 0.0)], ids=["bottleneck", "wide"])
def test_a_preactivation_block_ends_with_its_addition(block):
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(without_branch(block)(x), x)


@pytest.mark.parametrize("block", [PreactBottleneck(8, 16, 2), WideBlock(8, 16, 2, 0.0)], ids=["bottleneck", "wide"])
def test_a_preactivation_block_projects_what_is_activated(block):
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(without_branch(block)(x), block.projection(block.bn1(x).relu()))


def without_branch(block: nn.Module) -> nn.Module:
    last = [child for child in block.children() if isinstance(child, nn.Conv2d) and child is not block.projection][-1]
    nn.init.zeros_(last.weight)
    return block.eval()


@pytest.mark.parametrize("depth", V1_DEPTHS)
def test_torchvision_weights_fit(depth):
    from torchvision.models import get_model

    with torch.device("meta"):
        theirs = get_model(f"resnet{depth}", weights=None).state_dict()
        ours = resnet_v1(depth, 3, 1000).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


def test_strides_are_where_they_were_first_published():
    network = on_meta(PUBLISHED["resnet50"][0])
    strides = [network.get_submodule(f"layer{i}.0.conv{j}").stride[0] for i in range(1, 5) for j in (1, 2)]
    assert strides == [1, 1, 2, 1, 2, 1, 2, 1]
    assert all(network.layer3[i].conv1.stride == (1, 1) for i in range(1, 6))


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 8), ("cifar", 32)])
def test_the_cifar_stem_keeps_the_resolution(stem, side):
    sizes = []
    network = on_meta(lambda: senet154(3, 10, stem=stem))
    network.layer1.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape))
    network(torch.empty(1, 3, 32, 32, device="meta"))
    assert sizes == [(1, 256, side, side)]


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    network = SMALL["wide_resnet with dropout"]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # so that only dropout tells one pass from the next
    images = torch.randn(2, 1, 16, 16)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_shuffling_deals_each_group_out():
    shuffled = Shuffle(3)(torch.arange(12.0).view(1, 12, 1, 1)).flatten()
    assert shuffled.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_the_two_paths_of_a_shortcut_see_different_pixels():
    shortcut = TwoPaths(1, 2, 2).eval()
    nn.init.ones_(shortcut.conv1.weight)
    nn.init.ones_(shortcut.conv2.weight)
    x = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
    here, shifted = shortcut(x)[0]
    torch.testing.assert_close(here, x[0, 0, ::2, ::2], rtol=1e-4, atol=0)
    torch.testing.assert_close(shifted, torch.tensor([[0.0, 0.0], [0.0, x[0, 0, 1, 1]]]), rtol=1e-4, atol=0)


# Shake


def shaken(shake: Shake) -> tuple[Tensor, Tensor, Tensor]:
    """The weight of the first map in the forward pass, and the gradients of both, all [N, C, H, W]."""
    a = torch.ones(16, 3, 2, 2, requires_grad=True)
    b = torch.zeros(16, 3, 2, 2, requires_grad=True)
    mixed = shake(a, b)
    mixed.sum().backward()
    return mixed.detach(), a.grad, b.grad


def test_evaluation_takes_the_mean():
    shake = Shake().eval()
    a, b = torch.randn(2, 4, 3, 5, 5)
    torch.testing.assert_close(shake(a, b), (a + b) / 2)
    assert all((weights == 0.5).all() for weights in shaken(shake))


def test_training_mixes_each_image_by_one_weight_and_its_gradient_by_another():
    torch.manual_seed(0)
    alpha, beta, rest = shaken(Shake())
    for weights in (alpha, beta):
        assert ((weights >= 0) & (weights <= 1)).all()
        assert torch.equal(weights, weights[:, :1, :1, :1].expand_as(weights))
        assert len(weights[:, 0, 0, 0].unique()) == 16
    assert not torch.isclose(alpha, beta).all((1, 2, 3)).any()
    torch.testing.assert_close(beta + rest, torch.ones_like(beta))


def test_training_is_a_mixture_of_its_maps():
    torch.manual_seed(0)
    a, b = torch.randn(2, 4, 3, 5, 5)
    mixed = Shake()(a, b)
    alpha = (mixed - b) / (a - b)
    torch.testing.assert_close(alpha, alpha[:, :1, :1, :1].expand_as(alpha), rtol=1e-3, atol=1e-3)


def test_a_seed_gives_the_same_weights_again():
    def after_seed(seed):
        torch.manual_seed(seed)
        return torch.stack(shaken(Shake()))

    assert torch.equal(after_seed(1), after_seed(1))
    assert not torch.equal(after_seed(1), after_seed(2))
