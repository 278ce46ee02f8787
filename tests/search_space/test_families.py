"""Every kind of block against its definition, written here in NumPy, and its price against a run of it."""

import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from architecture_strategies import SMALL, architectures, blocks, examples
from hypothesis import given
from hypothesis import strategies as st
from se_block import se_block
from torch import nn

from search_space import variants
from search_space.architecture import SE, Architecture, Position
from search_space.building import build, make_block, se_module
from search_space.costs import block_price, cost
from search_space.errors import InputError
from search_space.measuring import measure
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import FAMILIES, Options, block, check_variant, family, variant, variant_names
from search_space.variants.family import USUAL

RESNET8 = SMALL["resnet8"]
EXCITE = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
}
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 6))


# definitions


def perceptron(layers, z):
    """Fully connected layers on the last axis, ReLU between them."""
    for i, (weight, bias) in enumerate(layers):
        z = z @ weight.T + bias
        if i < len(layers) - 1:
            z = np.maximum(z, 0)
    return z


def layers_of(module: nn.Module) -> list:
    """Weights of two dimensions and biases of a block's layers."""
    found = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    return [
        (
            part.weight.detach().numpy().reshape(part.weight.shape[:2]),
            0.0 if part.bias is None else part.bias.detach().numpy(),
        )
        for part in found
    ]


def se(x, module, settings):
    z = x.mean((2, 3)) if settings["squeeze"] == "avg" else x.max((2, 3))
    return EXCITE[settings["excitation"]](perceptron(layers_of(module), z))[:, :, None, None]


def no_squeeze(x, module, settings):
    pixels = np.moveaxis(x, 1, -1)
    return np.moveaxis(EXCITE[settings["excitation"]](perceptron(layers_of(module), pixels)), -1, 1)


def effective_se(x, module, settings):
    return np.clip(perceptron(layers_of(module), x.mean((2, 3))) / 6 + 0.5, 0, 1)[:, :, None, None]


def eca(x, module, settings):
    (weight,) = (p.detach().numpy().reshape(-1) for p in module.parameters())
    reach = len(weight) // 2
    z = np.pad(x.mean((2, 3)), ((0, 0), (reach, reach)))
    gate = np.stack([z[:, i : i + len(weight)] @ weight for i in range(x.shape[1])], axis=1)
    return EXCITE["sigmoid"](gate)[:, :, None, None]


def cbam(x, module, settings):
    layers = layers_of(module)
    return EXCITE["sigmoid"](perceptron(layers, x.mean((2, 3))) + perceptron(layers, x.max((2, 3))))[:, :, None, None]


def simam(x, module, settings):
    """As in the authors' code: n = h w - 1, of a map of one pixel 1."""
    squares = (x - x.mean((2, 3), keepdims=True)) ** 2
    others = max(x.shape[2] * x.shape[3] - 1, 1)
    return EXCITE["sigmoid"](squares / (4 * (squares.sum((2, 3), keepdims=True) / others + 1e-4)) + 0.5)


def gather_excite(x, module, settings):
    return EXCITE["sigmoid"](x.mean((2, 3), keepdims=True))


DEFINITIONS = {f.__name__: f for f in (se, no_squeeze, effective_se, eca, cbam, simam, gather_excite)}


def test_every_family_has_a_definition_here():
    assert set(DEFINITIONS) == set(FAMILIES)
    assert set(variant_names()) == {name for names in FAMILIES.values() for name in names}


def drawn(se: SE, channels: int, seed: int = 0) -> nn.Module:
    """A block of double precision whose weights are all far from zero."""
    generator = torch.Generator().manual_seed(seed)
    module = make_block(se, channels).double()
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    return module


@pytest.mark.parametrize("kind", FAMILIES)
@given(data=st.data(), images=st.integers(1, 3), shape=SHAPES, seed=st.integers(0, 1000))
@examples(25)
def test_a_block_is_its_definition(kind, data, images, shape, seed):
    chosen = data.draw(blocks(kinds=[kind], from_identity=False))
    module = drawn(chosen, shape[0], seed)
    x = torch.randn(images, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = x.numpy() * DEFINITIONS[kind](x.numpy(), module, dict(chosen.settings))
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


# prices


@given(chosen=blocks(), shape=SHAPES)
@examples(120)
def test_the_closed_form_is_what_a_run_costs(chosen, shape):
    price = block_price(chosen, shape)
    assert price == measure(lambda channels: make_block(chosen, channels), shape)
    assert price.params == sum(p.numel() for p in make_block(chosen, shape[0]).parameters())


@pytest.mark.parametrize("name", variant_names())
@given(channels=st.integers(1, 64), ratio=st.integers(1, 64), bias=st.booleans())
@examples(10)
def test_the_closed_form_of_every_variant_is_what_a_run_costs(name, channels, ratio, bias):
    chosen = block(name, "standard", channels, Options(ratio=ratio, bias=bias))
    shape = (channels, 5, 4)
    assert family(chosen.kind).price is not None
    assert block_price(chosen, shape) == measure(lambda c: make_block(chosen, c), shape)


@given(chosen=blocks(), shape=SHAPES)
@examples(20)
def test_a_start_at_the_identity_costs_one_parameter_and_one_product_per_element(chosen, shape):
    plain, wrapped = (
        block_price(SE(chosen.position, chosen.kind, chosen.settings, from_identity), shape)
        for from_identity in (False, True)
    )
    assert (wrapped.params - plain.params, wrapped.flops - plain.flops) == (1, shape[0] * shape[1] * shape[2])


# what all of them share


@pytest.mark.parametrize("from_identity", [False, True])
@pytest.mark.parametrize("name", variant_names())
def test_shape_and_memory_format_are_kept(name, from_identity):
    module = make_block(block(name, "standard", 8, Options(ratio=2), from_identity=from_identity), 8)
    for x in (torch.randn(2, 8, 5, 7), torch.randn(2, 8, 5, 7).to(memory_format=torch.channels_last)):
        out = module(x)
        assert out.shape == x.shape
        assert out.stride() == x.stride()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", variant_names())
def test_gradients_reach_all_parameters_and_the_map(name, bias):
    torch.manual_seed(0)
    module = make_block(block(name, "standard", 16, Options(ratio=2, bias=bias)), 16)
    x = torch.randn(4, 16, 5, 5, requires_grad=True)
    module(x).square().sum().backward()
    for gradient in (x.grad, *(p.grad for p in module.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize(
    ("channels", "kernel"), [(8, 3), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)]
)
def test_the_kernel_of_eca_grows_with_the_channels(channels, kernel):
    """The kernels of the paper's ResNets, and what |log2(C) / 2 + 1 / 2| rounds up to where it is even."""
    assert dict(block("eca", "standard", channels, USUAL).settings) == {"kernel": kernel}


@given(st.integers(1, 1 << 14))
@examples(60)
def test_the_kernel_of_eca_is_odd_and_next_to_its_formula(channels):
    kernel = dict(block("eca", "standard", channels, USUAL).settings)["kernel"]
    assert kernel % 2 == 1
    assert -1 <= (np.log2(channels) + 1) / 2 - kernel < 1


@given(
    name=st.sampled_from(variant_names()),
    channels=st.integers(1, 64),
    options=st.builds(
        Options,
        ratio=st.integers(1, 32),
        squeeze=st.sampled_from(["avg", "max"]),
        excitation=st.sampled_from(["sigmoid", "relu", "tanh"]),
    ),
)
@examples(60)
def test_options_that_a_variant_has_no_use_for_make_no_difference(name, channels, options):
    uses = variant(name)[1].uses
    used = {option: getattr(options, option) for option in uses}
    assert block(name, "pre", channels, options) == block(name, "pre", channels, Options(**used))


@pytest.mark.parametrize("name", variant_names())
def test_options_that_a_variant_uses_make_a_difference(name):
    other = {"ratio": 4, "squeeze": "max", "excitation": "tanh"}
    for option in variant(name)[1].uses:
        assert block(name, "pre", 64, Options(**{option: other[option]})) != block(name, "pre", 64, USUAL)


# settings


@pytest.mark.parametrize(
    ("kind", "settings", "parts"),
    [
        ("eca", {"kernel": 4}, ["kernel: must be odd", "4"]),
        ("eca", {"kernel": -3}, ["kernel: ", "-3"]),
        ("eca", {"kernel": True}, ["kernel: ", "True"]),
        ("eca", {"kernel": 3.0}, ["kernel: ", "3.0"]),
        ("eca", {}, ["setting 'kernel' is missing"]),
        ("eca", {"kernel": 3, "bias": False}, ["unknown setting 'bias'", "kernel"]),
        ("cbam", {"hidden": (2,)}, ["setting 'bias' is missing"]),
        ("cbam", {"hidden": (2, 0), "bias": False}, ["hidden: ", "[2, 0]"]),
        ("cbam", {"hiden": (2,), "bias": False}, ["'hiden'", "did you mean 'hidden'"]),
        ("no_squeeze", {"hidden": (2,), "excitation": "tahn", "bias": False}, ["excitation: ", "'tahn'"]),
        ("effective_se", {"bias": 0}, ["bias: ", "0"]),
        ("effective_se", {}, ["setting 'bias' is missing"]),
        ("simam", {"ratio": 3}, ["no setting 'ratio'"]),
        ("gather_excite", {"bias": True}, ["no setting 'bias'"]),
        ("sea", {}, ["unknown kind of SE block 'sea'", "did you mean"]),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(kind, settings, parts):
    architecture = Architecture(RESNET8, (("layer1.0", SE("pre", kind, tuple(settings.items()))),))
    for refuse in (build, partial(cost, trace(RESNET8))):
        check_refused(lambda refuse=refuse: refuse(architecture), "layer1.0", *parts)


def test_an_unknown_variant_is_refused_with_the_nearest():
    check_refused(lambda: check_variant("ecaa"), "SE variant 'ecaa'", "did you mean 'eca'")
    check_refused(lambda: block("eca", "pre", 8, Options(ratio=0)), "ratio must be at least 1")


# a block that starts as an identity


@pytest.mark.parametrize("position", ["standard", "pre", "post", "identity", "3x3"])
@pytest.mark.parametrize("name", ["standard", "no_squeeze", "effective_se", "eca", "cbam", "simam", "gather_excite"])
def test_a_network_whose_blocks_start_as_identities_starts_as_its_backbone(name, position: Position):
    traced = trace(RESNET8)
    options = Options(ratio=2)
    architecture = uniform(traced, variant=name, position=position, options=options, from_identity=True)
    network, plain = build(architecture).eval(), build(Architecture(RESNET8)).eval()
    x = torch.rand(4, *RESNET8.input_size)
    assert torch.equal(network(x), plain(x))
    without = cost(traced, uniform(traced, variant=name, position=position, options=options)).params
    assert sum(p.numel() for p in network.parameters()) == without + len(architecture.sites)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    F.cross_entropy(network(x), torch.arange(4)).backward()
    optimizer.step()
    for site in architecture.se:
        assert network.get_submodule(se_module(site)).a != 0
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("se.")})
    assert not torch.equal(network(x), plain(x))


# designs of one's own


MODULES = """
import torch
from torch import nn
from search_space.variants import Family
from search_space.variants.family import Price, Variant

class Plain(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x * self.scale

class Chosen(nn.Module):
    def __init__(self, channels, ratio, bias=False):
        super().__init__()
        self.down = nn.Conv2d(channels, channels // ratio, 1, bias=bias)
        self.up = nn.Conv2d(channels // ratio, channels, 1, bias=bias)

    def forward(self, x):
        return x * torch.sigmoid(self.up(self.down(x.mean((2, 3), keepdim=True))))

class Shrinking(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return x[:, :, ::2]

class Breaking(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        raise RuntimeError("no map is good enough\\nand more")

class WithoutChannels(nn.Module):
    def __init__(self, *, ratio):
        super().__init__()

number = 3

def factory(channels):
    return Plain(channels)

def plain_price(shape):
    return Price(flops=12345, params=shape[0], memory=4 * shape[0] * shape[1] * shape[2])

priced = Family(
    module=Plain,
    paper="",
    price=plain_price,
    variants={"priced": Variant("x w", lambda channels, options: {})},
)
two = Family(module=Plain, paper="", variants=dict.fromkeys("ab", Variant("x w", lambda channels, options: {})))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module of blocks on the path, under a name that no cache knows."""
    name = f"my_blocks_{random.SystemRandom().getrandbits(64):x}"
    (tmp_path / f"{name}.py").write_text(MODULES)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_module_of_ones_own_takes_nothing_but_the_channels(mine):
    traced = trace(RESNET8)
    for attribute in ("Plain", "factory"):
        architecture = uniform(traced, variant=f"{mine}:{attribute}")
        assert {se.settings for se in architecture.se.values()} == {()}
        assert Architecture.from_yaml(architecture.to_yaml()) == architecture
        priced = cost(traced, architecture)
        assert priced.se_params == sum(site.channels("standard") for site in traced.sites)
        assert priced.se_flops == sum(np.prod(site.shape("standard")) for site in traced.sites)
        x = torch.rand(2, *RESNET8.input_size)
        assert torch.equal(build(architecture).eval()(x), build(Architecture(RESNET8)).eval()(x))


@pytest.mark.parametrize("bias", [False, True])
def test_a_module_of_ones_own_takes_the_options_it_has_arguments_for(mine, bias):
    traced = trace(RESNET8)
    name = f"{mine}:Chosen"
    assert variant(name)[1].uses == ("ratio",)
    architecture = uniform(traced, variant=name, position="post", options=Options(ratio=2, bias=bias))
    assert {se.settings for se in architecture.se.values()} == {(("bias", bias), ("ratio", 2))}
    network = build(architecture)
    priced = cost(traced, architecture)
    assert priced.params == sum(p.numel() for p in network.parameters())
    channels = [site.channels("post") for site in traced.sites]
    assert priced.se_params == sum(c * c + (c + c // 2 if bias else 0) for c in channels)
    network(torch.rand(2, *RESNET8.input_size)).sum().backward()


def test_a_family_of_ones_own_gives_its_price(mine):
    traced = trace(RESNET8)
    priced = cost(traced, uniform(traced, variant=f"{mine}:priced"))
    assert priced.se_flops == 12345 * len(traced.sites)
    assert priced.se_params == sum(site.channels("standard") for site in traced.sites)


@pytest.mark.parametrize(
    ("attribute", "parts"),
    [
        ("Missing", ["has no Missing"]),
        ("number", ["must be a torch module's class or a Family", "3"]),
        ("two", ["a family of 2 variants", "must have one"]),
        ("WithoutChannels", ["must take the channels as its first argument"]),
        ("Shrinking", ["layer1.0", "where the shape must stay"]),
        ("Breaking", ["layer1.0", "fails on a map of 4x8x8", "no map is good enough"]),
    ],
)
def test_a_module_of_ones_own_that_is_no_block_is_refused(mine, attribute, parts):
    traced = trace(RESNET8)
    check_refused(lambda: cost(traced, uniform(traced, variant=f"{mine}:{attribute}")), *parts)


def test_a_module_that_is_not_there_is_refused():
    check_refused(
        lambda: uniform(trace(RESNET8), variant="no_such_module_anywhere:Block"),
        "no_such_module_anywhere",
        "cannot be imported",
        "ModuleNotFoundError",
    )


def test_settings_of_a_module_of_ones_own_are_checked(mine):
    architecture = Architecture(RESNET8, (("layer1.0", SE("pre", f"{mine}:Chosen", (("ratoi", 2),))),))
    check_refused(lambda: build(architecture), "layer1.0", "'ratoi'", "did you mean 'ratio'")
    lacking = Architecture(RESNET8, (("layer1.0", SE("pre", f"{mine}:Chosen", (("bias", True),))),))
    check_refused(lambda: build(lacking), "layer1.0", "setting 'ratio' is missing")


@pytest.fixture
def installed(mine, tmp_path, monkeypatch):
    """A package that registers blocks of its own, as one that pip has installed does."""
    info = tmp_path / "my_blocks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-blocks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[senas.variants]\nmy_block = {mine}:Chosen\nmy_priced = {mine}:priced\nmy_lost = {mine}:Lost\n"
    )
    caches = (variants._entry_points, variants.family, variants.block)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()
    monkeypatch.undo()


def test_an_installed_package_adds_variants(installed):
    assert {"my_block", "my_priced", "my_lost"} <= set(variant_names())
    traced = trace(RESNET8)
    architecture = uniform(traced, variant="my_block", options=Options(ratio=4))
    assert {(se.kind, se.settings) for se in architecture.se.values()} == {
        ("my_block", (("bias", False), ("ratio", 4)))
    }
    assert cost(traced, architecture).params == sum(p.numel() for p in build(architecture).parameters())
    assert cost(traced, uniform(traced, variant="my_priced")).se_flops == 12345 * len(traced.sites)
    check_refused(lambda: check_variant("my_blok"), "'my_blok'", "did you mean 'my_block'")


def test_an_installed_package_that_lacks_what_it_registers_is_refused(installed):
    check_refused(lambda: uniform(trace(RESNET8), variant="my_lost"), "my_lost")


# without torch


WITHOUT_TORCH = """
import sys
import search_space
from search_space.variants import check_variant, variant_names
from search_space.space import SearchSpace
for name in variant_names():
    check_variant(name)
check_variant("my.blocks:Block")
architecture = search_space.Architecture.from_yaml(sys.stdin.read())
assert [se.kind for _, se in architecture.sites]
print(architecture.id, "torch" in sys.modules, "torchvision" in sys.modules)
"""


def test_naming_variants_and_reading_architectures_load_no_torch():
    sites = [f"layer1.{i}" for i in range(len(FAMILIES))]
    chosen = [block(names[0], "pre", 8, Options(ratio=2)) for names in FAMILIES.values()]
    architecture = Architecture(RESNET8, tuple(zip(sites, chosen, strict=True)))
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        input=architecture.to_yaml(),
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert told == [architecture.id, "False", "False"]


# all together


@given(architectures(trace(RESNET8)))
@examples(20)
def test_architectures_of_all_kinds_train(architecture):
    network = build(architecture)
    loss = F.cross_entropy(network(torch.rand(4, *RESNET8.input_size)), torch.arange(4))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_proper_se_by_its_widths_is_the_block_of_its_variant():
    assert se_block("pre", (4,)) == block("standard", "pre", 64, USUAL)


def check_refused(action, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message
