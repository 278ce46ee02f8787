"""BN-Inception and Inception-ResNet-v2 against the published networks, and that a graph tool can rewrite them."""

import operator
from collections import Counter

import pytest
import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from search_space.backbones.bn_inception import Inception, bn_inception
from search_space.backbones.inception_resnet_v2 import BLOCK_A, ResidualBlock, inception_resnet_v2

FACTORIES = (bn_inception, inception_resnet_v2)


def on_meta(factory, in_channels=3, num_classes=1000):
    with torch.device("meta"):
        return factory(in_channels, num_classes).eval()


def params(network):
    return sum(p.numel() for p in network.parameters())


def flops(network, size):
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops() // 2


def output_shapes(network, size, modules):
    """The shape [C, H, W] that each of these modules returns for one image."""
    shapes = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    network(torch.empty(1, 3, size, size, device="meta"))
    return shapes


@pytest.fixture(scope="module", params=[(bn_inception, 64), (inception_resnet_v2, 75)], ids=["bn", "resnet_v2"])
def real(request):
    """A network with weights, and two small images."""
    factory, size = request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return factory(3, 10).eval(), torch.randn(2, 3, size, size)


# the published networks


def test_bn_inception_costs_what_is_published():
    network = on_meta(bn_inception)
    # The widely used conversion of its weights has 11,295,240 parameters, with a bias for each filter.
    filters = sum(m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d))
    assert params(network) + filters == 11_295_240
    assert flops(network, 224) / 1e9 == pytest.approx(2.03, abs=0.02)


def test_inception_resnet_v2_has_the_released_parameters():
    assert params(on_meta(inception_resnet_v2)) == 55_843_464


def test_inception_resnet_v2_as_released_costs_more_than_the_se_paper_says():
    """13.16 GFLOPs at the 299x299 of arXiv 1709.01507, which prints 11.75: that is without padding in the stem."""
    assert flops(on_meta(inception_resnet_v2), 299) / 1e9 == pytest.approx(13.156, abs=0.001)


def test_bn_inception_has_the_published_maps():
    network = on_meta(bn_inception)
    assert output_shapes(network, 224, dict(network.inception.named_children())) == {
        "3a": (256, 28, 28),
        "3b": (320, 28, 28),
        "3c": (576, 14, 14),
        "4a": (576, 14, 14),
        "4b": (576, 14, 14),
        "4c": (608, 14, 14),
        "4d": (608, 14, 14),
        "4e": (1056, 7, 7),
        "5a": (1024, 7, 7),
        "5b": (1024, 7, 7),
    }


def test_inception_resnet_v2_has_the_published_maps():
    network = on_meta(inception_resnet_v2)
    assert output_shapes(network, 299, dict(network.named_children())) == {
        "stem": (192, 35, 35),
        "mixed_5b": (320, 35, 35),
        "blocks_a": (320, 35, 35),
        "reduction_a": (1088, 17, 17),
        "blocks_b": (1088, 17, 17),
        "reduction_b": (2080, 8, 8),
        "blocks_c": (2080, 8, 8),
        "conv_7b": (1536, 8, 8),
        "avgpool": (1536, 1, 1),
        "dropout": (1536,),
        "fc": (1000,),
    }


@pytest.mark.parametrize(
    ("factory", "concatenations", "additions"), [(bn_inception, 10, 0), (inception_resnet_v2, 1 + 1 + 1 + 40, 40)]
)
def test_modules_end_in_one_concatenation_and_blocks_in_one_addition(factory, concatenations, additions):
    nodes = fx.symbolic_trace(on_meta(factory)).graph.nodes
    called = Counter(node.target for node in nodes if node.op == "call_function")
    assert called == Counter({torch.cat: concatenations, operator.add: additions, operator.mul: additions})
    assert all(node.args[1] == 1 for node in nodes if node.target is torch.cat)
    assert [node.target for node in nodes if node.op == "call_method"] == ["flatten"]


def test_residuals_are_scaled_and_the_last_block_is_linear():
    network = on_meta(inception_resnet_v2)
    blocks = [*network.blocks_a, *network.blocks_b, *network.blocks_c]
    assert [block.scale for block in blocks] == [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
    assert [isinstance(block.relu, nn.ReLU) for block in blocks] == [True] * 39 + [False]


def test_residual_block_is_the_published_formula():
    block = ResidualBlock(8, BLOCK_A, 0.17).eval()
    x = torch.randn(2, 8, 5, 5)
    branches = [getattr(block.branches, name)(x) for name in ("branch0", "branch1", "branch2")]
    assert [branch.shape[1] for branch in branches] == [32, 32, 64]
    expected = torch.relu(0.17 * block.conv(torch.cat(branches, 1)) + x)
    torch.testing.assert_close(block(x), expected)


def test_inception_pools_as_published():
    """Average pooling counts the padding; the last module takes the maximum, as do those of stride 2, unpadded."""
    inception = on_meta(bn_inception).inception
    pools = {name: module.get_submodule("pool.0") for name, module in inception.named_children()}
    assert [name for name, pool in pools.items() if isinstance(pool, nn.MaxPool2d)] == ["3c", "4e", "5b"]
    ones = torch.ones(1, 1, 4, 4)
    assert pools["3a"](ones)[0, 0, 0, 0].item() == pytest.approx(4 / 9)
    count = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert pools["3c"](count)[0, 0].tolist() == [[10, 11], [14, 15]]
    assert pools["5b"](count)[0, 0, 0].tolist() == [5, 6, 7, 7]


def test_inception_resnet_v2_averages_what_is_inside_the_map():
    pool = on_meta(inception_resnet_v2).mixed_5b.get_submodule("pool.0")
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(pool(ones), ones)


@pytest.mark.parametrize(
    ("stage", "kernels"),
    [
        ("blocks_a", [(1, 1), (1, 1), (3, 3), (1, 1), (3, 3), (3, 3), (1, 1)]),
        ("blocks_b", [(1, 1), (1, 1), (1, 7), (7, 1), (1, 1)]),
        ("blocks_c", [(1, 1), (1, 1), (1, 3), (3, 1), (1, 1)]),
    ],
)
def test_inception_resnet_v2_has_the_published_kernels(stage, kernels):
    for block in on_meta(inception_resnet_v2).get_submodule(stage):
        assert [m.kernel_size for m in block.modules() if isinstance(m, nn.Conv2d)] == kernels


# fit for rewriting


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_graph_is_the_same_in_training(factory):
    network = on_meta(factory)
    in_eval = fx.symbolic_trace(network).code
    assert fx.symbolic_trace(network.train()).code == in_eval


@pytest.mark.parametrize("factory", FACTORIES)
def test_convolutions_are_followed_by_normalisation_and_activation(factory):
    """All but the linear convolutions that end the residuals; nothing works in place."""
    network = on_meta(factory)
    traced = fx.symbolic_trace(network)
    kind = {n: type(traced.get_submodule(n.target)) for n in traced.graph.nodes if n.op == "call_module"}
    linear = []
    for node in (n for n in kind if kind[n] is nn.Conv2d):
        (user,) = node.users
        if kind.get(user) is nn.BatchNorm2d:
            (activation,) = user.users
            assert kind[activation] is nn.ReLU
        else:
            linear.append(node.target)
    assert linear == [f"{n}.conv" for n, m in network.named_modules() if isinstance(m, ResidualBlock)]
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_traced_network_computes_the_same(real):
    network, x = real
    with torch.no_grad():
        logits = network(x)
        assert logits.shape == (2, 10)
        assert not torch.equal(logits[0], logits[1])
        torch.testing.assert_close(fx.symbolic_trace(network)(x), logits)


def test_no_map_is_changed_after_it_is_made(real):
    """Each concatenating module and each residual block leaves its input as it was."""
    network, x = real
    checked = 0

    def remember(module, args):
        module.before = args[0].clone()

    def compare(module, args, _):
        nonlocal checked
        checked += 1
        assert torch.equal(args[0], module.before)
        del module.before

    modules = [m for m in network.modules() if isinstance(m, Inception | ResidualBlock)]
    hooks = [m.register_forward_pre_hook(remember) for m in modules]
    hooks += [m.register_forward_hook(compare) for m in modules]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    assert checked == len(modules) > 0


@pytest.mark.parametrize(("factory", "size"), [(bn_inception, 32), (inception_resnet_v2, 75)])
def test_smallest_images_and_other_channels(factory, size):
    network = on_meta(factory, in_channels=1, num_classes=7)
    assert network(torch.empty(2, 1, size, size, device="meta")).shape == (2, 7)


def test_smaller_images_than_documented_are_refused():
    with pytest.raises(RuntimeError):
        on_meta(inception_resnet_v2)(torch.empty(1, 3, 74, 74, device="meta"))


def test_training_reaches_every_parameter():
    network = bn_inception(3, 5)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
