"""Built networks: the right sums at the right places, the backbone's weights untouched, and trainable."""

import copy
from contextlib import ExitStack
from itertools import product
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from architecture_strategies import SMALL, architectures, examples
from hypothesis import given
from hypothesis import strategies as st
from se_block import se_block
from torch import Tensor, nn
from torchvision.models import get_model

from search_space.architecture import POSITIONS, SE, Architecture, Backbone
from search_space.backbones import instantiate, resolve
from search_space.building import build, check, se_module
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import FAMILIES, Options, family
from search_space.variants.gate import Gate

RESNET8 = SMALL["resnet8"]
RESNET20 = SMALL["resnet20"]
RESNET18 = resolve("resnet18", num_classes=5, input_size=(3, 32, 32))
RESNET50 = resolve("resnet50", num_classes=5, input_size=(3, 32, 32))
PLACED = {
    f"{name} {position}": uniform(trace(backbone), position=position, options=Options(ratio=2))
    for name, backbone in {**SMALL, "resnet18": RESNET18}.items()
    for position in trace(backbone).sites[0].shapes
}


def images(backbone: Backbone, number: int = 2) -> Tensor:
    return torch.randn(number, *backbone.input_size, generator=torch.Generator().manual_seed(0))


def backbone_of(network: nn.Module, backbone: Backbone) -> nn.Module:
    """The backbone as it was written, never traced, with a built network's weights."""
    with torch.device("meta"):  # no weights to draw, only to be given
        module = instantiate(backbone)
    state = {key: value.clone() for key, value in network.state_dict().items() if not key.startswith("se.")}
    module.load_state_dict(state, strict=True, assign=True)
    return module.requires_grad_()


# an SE block that lets everything pass leaves the backbone


def open_gate(block: Gate, x: Tensor) -> Tensor:
    opened.append(block)
    return x.new_ones(x.shape[0], x.shape[1], 1, 1)


opened: list[Gate] = []
GATES = [family(kind).module for kind in FAMILIES]


def check_open_gates(architecture: Architecture) -> None:
    network = build(architecture)
    backbone = backbone_of(network, architecture.backbone)
    x = images(architecture.backbone)
    for training in (True, False):  # in this order, so that evaluation sees updated running statistics
        opened.clear()
        with ExitStack() as patched, torch.no_grad():
            for gate in GATES:
                patched.enter_context(patch.object(gate, "gate", open_gate))
            assert torch.equal(network.train(training)(x), backbone.train(training)(x))
        blocks = [module for module in network.modules() if isinstance(module, Gate)]
        assert len(opened) == len(architecture.sites)
        assert {id(block) for block in opened} == {id(block) for block in blocks}
    for key, value in backbone.state_dict().items():
        assert torch.equal(network.state_dict()[key], value)


@pytest.mark.parametrize("architecture", PLACED.values(), ids=PLACED)
def test_open_gates_leave_the_backbone_at_each_position(architecture):
    check_open_gates(architecture)


@given(architectures(trace(RESNET50)))
@examples(2)
def test_open_gates_leave_resnet50_in_any_mixture(architecture):
    check_open_gates(architecture)


@pytest.mark.parametrize("backbone", SMALL.values(), ids=SMALL)
@given(data=st.data())
@examples(5)
def test_open_gates_leave_the_backbone_in_any_mixture(backbone, data):
    check_open_gates(data.draw(architectures(trace(backbone))))


@given(data=st.data())
@examples(2)
def test_open_gates_leave_resnet18_in_any_mixture(data):
    check_open_gates(data.draw(architectures(trace(RESNET18))))


@pytest.mark.parametrize("architecture", PLACED.values(), ids=PLACED)
def test_closed_gates_do_not_leave_the_backbone(architecture):
    """Without this, the tests above would pass if no block did anything."""
    network = build(architecture).eval()
    backbone = backbone_of(network, architecture.backbone).eval()
    x = images(architecture.backbone)
    assert not torch.allclose(network(x), backbone(x), rtol=1e-3)


# the positions against networks written by hand


def residual_block(position: str | None, se, x: Tensor, branch, shortcut) -> Tensor:
    """The table of arXiv 1709.01507, section 6.5."""
    match position:
        case None:
            return F.relu(shortcut(x) + branch(x))
        case "standard":
            return F.relu(shortcut(x) + se(branch(x)))
        case "pre":
            return F.relu(shortcut(x) + branch(se(x)))
        case "post":
            return se(F.relu(shortcut(x) + branch(x)))
        case "identity":
            return F.relu(se(shortcut(x)) + branch(x))
        case "3x3":
            return F.relu(shortcut(x) + branch(x, inside=se))
    raise AssertionError(position)


def unchanged(x: Tensor) -> Tensor:
    return x


def option_a(channels: int):
    """Every other pixel, with zeros for the new channels; the identity where nothing is new."""

    def shortcut(x: Tensor) -> Tensor:
        if x.shape[1] == channels:
            return x
        zeros = x.new_zeros(x.shape[0], channels - x.shape[1], (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2)
        return torch.cat([x[..., ::2, ::2], zeros], dim=1)

    return shortcut


def cifar_resnet_by_hand(net: nn.Module, se: dict[str, tuple[str, nn.Module]], x: Tensor) -> Tensor:
    x = F.relu(net.bn1(net.conv1(x)))
    for stage in ("layer1", "layer2", "layer3"):
        for i, block in enumerate(getattr(net, stage)):

            def branch(x, block=block, inside=unchanged):
                return block.bn2(block.conv2(F.relu(inside(block.bn1(block.conv1(x))))))

            position, module = se.get(f"{stage}.{i}", (None, None))
            x = residual_block(position, module, x, branch, option_a(block.conv2.out_channels))
    return net.fc(x.mean((2, 3)))


def torchvision_resnet_by_hand(net: nn.Module, se: dict[str, tuple[str, nn.Module]], x: Tensor) -> Tensor:
    x = F.max_pool2d(F.relu(net.bn1(net.conv1(x))), 3, 2, 1)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for i, block in enumerate(getattr(net, stage)):

            def branch(x, block=block, inside=unchanged):
                x = block.bn1(block.conv1(x))
                if not hasattr(block, "conv3"):
                    return block.bn2(block.conv2(F.relu(inside(x))))
                return block.bn3(block.conv3(F.relu(inside(block.bn2(block.conv2(F.relu(x)))))))

            position, module = se.get(f"{stage}.{i}", (None, None))
            x = residual_block(position, module, x, branch, block.downsample or unchanged)
    return net.fc(x.mean((2, 3)))


BY_HAND = {
    "resnet8": cifar_resnet_by_hand,
    "resnet20": cifar_resnet_by_hand,
    "resnet18": torchvision_resnet_by_hand,
    "resnet50": torchvision_resnet_by_hand,
}


def check_by_hand(architecture: Architecture) -> None:
    network = build(architecture)
    backbone = backbone_of(network, architecture.backbone)
    se = {name: (block.position, network.get_submodule(se_module(name))) for name, block in architecture.sites}
    x = images(architecture.backbone, 3)
    for training in (True, False):
        network.train(training)
        backbone.train(training)
        with torch.no_grad():
            expected = BY_HAND[architecture.backbone.name](backbone, se, x)
            torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("backbone", [RESNET20, RESNET50], ids=lambda b: b.name)
def test_a_position_everywhere_is_as_written_by_hand(backbone, position):
    check_by_hand(uniform(trace(backbone), position=position, options=Options(ratio=4)))


@pytest.mark.parametrize("site", ["layer1.0", "layer2.0"])
@pytest.mark.parametrize("position", POSITIONS)
def test_a_position_at_one_basic_block_is_as_written_by_hand(site, position):
    check_by_hand(Architecture(RESNET18, ((site, se_block(position, (3,), bias=True)),)))


@pytest.mark.parametrize("positions", list(product(POSITIONS, repeat=2)), ids="-".join)
@pytest.mark.parametrize("sites", [("layer1.0", "layer1.1"), ("layer1.2", "layer2.0")], ids="-".join)
def test_positions_at_consecutive_blocks_compose_as_written_by_hand(sites, positions):
    blocks = zip(sites, (se_block(position, (2,), excitation="tanh") for position in positions), strict=True)
    check_by_hand(Architecture(RESNET20, tuple(blocks)))


@given(architectures(trace(RESNET20)))
@examples(10)
def test_any_mixture_is_as_written_by_hand(architecture):
    check_by_hand(architecture)


@given(architectures(trace(RESNET50)))
@examples(2)
def test_any_mixture_on_bottlenecks_is_as_written_by_hand(architecture):
    check_by_hand(architecture)


def test_positions_make_different_networks_of_the_same_weights():
    traced = trace(RESNET20)
    networks = [
        build(uniform(traced, position=p, options=Options(ratio=2))).eval() for p in ("standard", "post", "identity")
    ]
    for network in networks[1:]:
        for key, value in network.state_dict().items():
            assert torch.equal(value, networks[0].state_dict()[key])
    outputs = [network(images(RESNET20)) for network in networks]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(outputs[a], outputs[b], rtol=1e-3)


def test_cnn3_has_its_block_after_the_activation():
    backbone = SMALL["cnn3"]
    network = build(
        Architecture(backbone, (("conv1", se_block("standard", (2,))), ("conv3", se_block("standard", (3,)))))
    ).eval()
    net, x = backbone_of(network, backbone), images(backbone)
    h = network.get_submodule(se_module("conv1"))(F.relu(net.conv1(x)))
    h = F.max_pool2d(F.relu(net.conv2(h)), 2)
    h = F.max_pool2d(network.get_submodule(se_module("conv3"))(F.relu(net.conv3(h))), 2)
    torch.testing.assert_close(network(x), net.fc(h.mean((2, 3))))


# weights, seeds, names

SE_PROPER = architectures(trace(RESNET20), kinds=["se"], from_identity=False)


@given(a=SE_PROPER, b=SE_PROPER, seed=st.integers(0, 2**31))
@examples(10)
def test_architectures_of_one_seed_share_every_weight_they_have_in_common(a, b, seed):
    first, second = build(a, seed=seed).state_dict(), build(b, seed=seed).state_dict()
    plain = instantiate(RESNET20).state_dict()
    for state in (first, second):
        assert [key for key in state if not key.startswith("se.")] == list(plain)
    for key in plain:
        assert torch.equal(first[key], second[key])
    for site in set(a.se) & set(b.se):
        if layers(a.se[site]) == layers(b.se[site]) and (
            trace(RESNET20).site(site).channels(a.se[site].position)
            == trace(RESNET20).site(site).channels(b.se[site].position)
        ):
            keys = [key for key in first if key.startswith(f"{se_module(site)}.")]
            assert keys
            for key in keys:
                assert torch.equal(first[key], second[key])


def layers(se: SE) -> tuple:
    return se.hidden, dict(se.settings)["bias"]


@given(SE_PROPER)
@examples(10)
def test_keys_beyond_the_backbone_are_those_of_the_sites(architecture):
    keys = {key for key in build(architecture).state_dict() if key.startswith("se.")}
    expected = {
        f"{se_module(name)}.fc.{layer}.{kind}"
        for name, se in architecture.sites
        for layer in range(len(se.hidden) + 1)
        for kind in (("weight", "bias") if dict(se.settings)["bias"] else ("weight",))
    }
    assert keys == expected


def test_another_seed_draws_other_weights_at_every_site():
    architecture = uniform(trace(RESNET8), options=Options(ratio=2))
    first, again, other = (build(architecture, seed=seed).state_dict() for seed in (1, 1, 2))
    drawn = [key for key in first if ("conv" in key or "fc" in key) and key.endswith("weight")]
    assert len(drawn) == 7 + 1 + 2 * 3
    for key in drawn:
        assert torch.equal(first[key], again[key])
        assert not torch.equal(first[key], other[key])


def test_sites_draw_weights_of_their_own():
    network = build(uniform(trace(RESNET20), options=Options(ratio=2)))
    a, b = (network.get_submodule(se_module(f"layer1.{i}")).fc[0].weight for i in (0, 1))
    assert a.shape == b.shape
    assert not torch.equal(a, b)


def test_building_and_tracing_leave_the_global_generator_as_it_was():
    backbone = resolve("resnet8", num_classes=9, input_size=(2, 7, 9), options={"width": 3})  # traced nowhere else
    state = torch.random.get_rng_state()
    traced = trace(backbone)
    assert torch.equal(torch.random.get_rng_state(), state)
    build(uniform(traced, options=Options(ratio=2)), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_do_not_depend_on_the_global_generator():
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        states.append(build(uniform(trace(RESNET8))).state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])


@pytest.mark.parametrize("position", POSITIONS)
def test_weights_of_the_plain_torchvision_model_load(position):
    network = build(uniform(trace(RESNET18), position=position))
    own = {key for key in network.state_dict() if key.startswith("se.")}
    plain = get_model("resnet18", weights=None, num_classes=5)
    keys = network.load_state_dict(plain.state_dict(), strict=False)
    assert set(keys.missing_keys) == own
    assert len(own) == 2 * 8
    assert keys.unexpected_keys == []
    assert torch.equal(network.get_parameter("layer4.1.conv2.weight"), plain.layer4[1].conv2.weight)


def test_building_leaves_the_trace_as_it_was():
    traced = trace(RESNET20)
    before = str(traced.graph)
    first = build(uniform(traced, position="post"))
    build(uniform(traced, position="pre"))
    assert str(traced.graph) == before
    x = images(RESNET20)
    with torch.no_grad():
        assert torch.equal(first.eval()(x), build(uniform(traced, position="post")).eval()(x))


def test_networks_of_one_architecture_share_no_tensor():
    first, second = (build(uniform(trace(RESNET8))) for _ in range(2))
    assert not {t.data_ptr() for t in first.parameters()} & {t.data_ptr() for t in second.parameters()}


def test_a_network_can_be_copied():
    network = build(uniform(trace(RESNET8))).eval()
    x = images(RESNET8)
    assert torch.equal(copy.deepcopy(network)(x), network(x))


def test_networks_come_in_training_mode():
    network = build(uniform(trace(RESNET8)))
    assert all(module.training for module in network.modules())


# training


@pytest.mark.parametrize("architecture", PLACED.values(), ids=PLACED)
def test_a_training_step_reaches_every_weight(architecture):
    check_training_step(architecture)


@given(architectures(trace(RESNET18)))
@examples(2)
def test_any_mixture_trains_between_in_place_activations(architecture):
    network = build(architecture)
    loss = F.cross_entropy(network(images(RESNET18)), torch.tensor([0, 1]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def check_training_step(architecture: Architecture) -> None:
    backbone = architecture.backbone
    network = build(architecture)
    for name, parameter in network.named_parameters():
        if name.startswith("se."):  # where all hidden units of a block are dead or its gates saturated, none is due
            parameter.data.abs_().mul_(0.1)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, y = images(backbone, 8), torch.arange(8) % backbone.num_classes
    F.cross_entropy(network(x), y).backward()
    optimizer.step()
    still = [name for name, p in network.named_parameters() if torch.equal(p, before[name])]
    assert still == []


def test_gradients_are_those_of_the_network_written_by_hand():
    architecture = Architecture(
        RESNET18,
        tuple((f"layer{i + 1}.{j}", se_block(POSITIONS[(i + 2 * j) % 5], (4,))) for i in range(4) for j in range(2)),
    )
    network = build(architecture)
    backbone = backbone_of(network, RESNET18).train()
    se = {
        name: (block.position, copy.deepcopy(network.get_submodule(se_module(name))))
        for name, block in architecture.sites
    }
    x = images(RESNET18, 4)
    network(x).square().sum().backward()
    torchvision_resnet_by_hand(backbone, se, x).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        close(network.get_parameter(name).grad, parameter.grad)
    for site, (_, block) in se.items():
        for name, parameter in block.named_parameters():
            close(network.get_parameter(f"{se_module(site)}.{name}").grad, parameter.grad)


def close(actual: Tensor, expected: Tensor) -> None:
    scale = expected.abs().max().item()
    assert scale > 0
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3 * scale)


# errors


@pytest.mark.parametrize(
    ("backbone", "site", "position", "parts"),
    [
        pytest.param(RESNET8, "layer1.1", "pre", ["site of resnet8 'layer1.1'", "did you mean 'layer1.0'"], id="site"),
        pytest.param(RESNET8, "se.layer1.0", "pre", ["'se.layer1.0'", "'layer1.0'"], id="submodule for site"),
        pytest.param(RESNET8, "", "pre", ["site of resnet8 ''", "layer1.0"], id="no site"),
        pytest.param(
            SMALL["cnn3"], "conv1", "post", ["conv1", "no position 'post'", "it has: standard"], id="position"
        ),
        pytest.param(SMALL["cnn3 without conv2"], "conv2", "standard", ["'conv2'", "did you mean"], id="left out"),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused_in_one_line(backbone, site, position, parts):
    architecture = Architecture(backbone, ((site, se_block(position, (2,))),))
    for refuse in (build, lambda a: check(trace(backbone), a)):
        with pytest.raises(InputError) as caught:
            refuse(architecture)
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        for part in parts:
            assert part in message


def test_a_backbone_with_a_module_named_se_is_refused(registered):
    class Taken(nn.Module):
        def __init__(self):
            super().__init__()
            self.se = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.se(x).mean((2, 3))

    with pytest.raises(InputError, match="has a module named 'se'"):
        build(Architecture(registered(Taken)))
