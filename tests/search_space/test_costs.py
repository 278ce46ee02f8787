"""The closed forms of cost against counts made on the built network."""

import pytest
import torch
from architecture_strategies import SMALL, TORCHVISION, architectures, examples
from counting import elementwise_flops, layer_flops
from hypothesis import given
from hypothesis import strategies as st
from se_block import se_block
from torchvision.models import get_model_weights

from search_space.architecture import Architecture
from search_space.backbones import instantiate, resolve
from search_space.building import build_without_weights
from search_space.costs import Cost, block_price, cost
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options
from search_space.widths import hidden_widths

RESNET50 = resolve("resnet50", num_classes=1000, input_size=(3, 224, 224))


@pytest.mark.parametrize("backbone", SMALL.values(), ids=SMALL)
@given(data=st.data())
@examples(6)
def test_cost_equals_counts_on_the_built_network(backbone, data):
    check_against_counts(data.draw(architectures(trace(backbone))))


@pytest.mark.parametrize("backbone", TORCHVISION.values(), ids=TORCHVISION)
@given(data=st.data())
@examples(2)
def test_cost_equals_counts_on_built_torchvision_networks(backbone, data):
    check_against_counts(data.draw(architectures(trace(backbone))))


def check_against_counts(architecture: Architecture) -> None:
    traced = trace(architecture.backbone)
    priced = cost(traced, architecture)
    network = build_without_weights(architecture).eval()  # shapes are all that counting needs
    assert priced.params == sum(p.numel() for p in network.parameters())
    assert priced.se_params == sum(p.numel() for n, p in network.named_parameters() if n.startswith("se."))
    of_layers, in_blocks = layer_flops(network, architecture.backbone.input_size)
    per_element = sum(elementwise_flops(se, traced.site(name).shape(se.position)) for name, se in architecture.sites)
    assert priced.flops == of_layers + per_element
    assert priced.se_flops == in_blocks + per_element


def test_an_architecture_without_se_costs_its_backbone():
    traced = trace(SMALL["resnet20"])
    assert cost(traced, Architecture(traced.backbone)) == Cost(traced.flops, traced.params, traced.memory, 0, 0)


def test_flops_grow_with_the_image_and_parameters_do_not():
    small, large = (
        cost(t, uniform(t)) for t in (trace(resolve("resnet8", num_classes=10, input_size=(3, s, s))) for s in (16, 32))
    )
    assert (small.params, small.se_params) == (large.params, large.se_params)
    # linear layers cost the same for both, everything else four times as much
    widths = (16, 32, 64)
    linear = sum(2 * c * max(1, c // 16) for c in widths) + 64 * 10
    assert large.flops - linear == 4 * (small.flops - linear)


@pytest.mark.parametrize("asked", ["layer9.0", "layer1.O"])
def test_cost_names_a_site_that_does_not_exist(asked):
    traced = trace(SMALL["resnet8"])
    with pytest.raises(InputError, match=rf"unknown site of resnet8 '{asked}': did you mean 'layer\d\.0'"):
        cost(traced, Architecture(traced.backbone, ((asked, se_block("pre", (1,))),)))


# published and derived figures (arXiv 1709.01507 v4 and 2304.06502)


def test_resnet50_has_the_published_parameters():
    assert trace(RESNET50).params == 25_557_032


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "wide_resnet50_2"])
def test_torchvision_backbones_have_the_figures_torchvision_publishes(name):
    meta = next(iter(get_model_weights(name))).meta
    traced = trace(resolve(name, num_classes=1000, input_size=(3, 224, 224)))
    assert traced.params == meta["num_params"]
    assert round(traced.flops / 1e9, 3) == meta["_ops"]


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)], ids=str)
def test_cifar_resnets_have_the_published_parameters(depth, millions):
    """Table 6 of arXiv 1512.03385."""
    traced = trace(resolve(f"resnet{depth}", num_classes=10, input_size=(3, 32, 32)))
    assert traced.params == pytest.approx(millions * 1e6, rel=0.02)
    assert len(traced.sites) == (depth - 2) // 2


@pytest.mark.parametrize(
    ("ratio", "weights", "millions_with_statistics"),
    [(2, 20_119_552, 45.7), (4, 10_059_776, 35.7), (8, 5_029_888, 30.7), (16, 2_514_944, 28.1), (32, 1_257_472, 26.9)],
)
def test_se_resnet50_has_the_published_parameters_at_each_ratio(ratio, weights, millions_with_statistics):
    traced = trace(RESNET50)
    priced = cost(traced, uniform(traced, options=Options(ratio=ratio)))
    assert priced.se_params == weights
    with torch.device("meta"):
        statistics = sum(b.numel() for name, b in instantiate(RESNET50).named_buffers() if "running" in name)
    assert (priced.params + statistics) / 1e6 == pytest.approx(millions_with_statistics, abs=0.1)


def test_se_resnet50_has_the_derived_biases():
    traced = trace(RESNET50)
    with_bias, without = (cost(traced, uniform(traced, options=Options(bias=bias))).params for bias in (True, False))
    assert with_bias - without == 16_048


@pytest.mark.parametrize(("stage", "weights"), [(1, 24_576), (2, 131_072), (3, 786_432), (4, 1_572_864)])
def test_se_resnet50_has_the_derived_weights_of_each_stage(stage, weights):
    """The papers count the stem as a stage: their stage 2 is torchvision's layer1, our stage 1."""
    traced = trace(RESNET50)
    assert {site.stage_name for site in traced.sites if site.stage == stage} == {f"layer{stage}"}
    assert cost(traced, uniform(traced, stages=[stage])).se_params == weights


def test_se_costs_resnet50_the_published_share():
    """0.26% of the FLOPs at most, and about 10% of the parameters (section 4)."""
    traced = trace(RESNET50)
    priced = cost(traced, uniform(traced))
    assert 0 < priced.se_flops / traced.flops < 0.0035
    assert priced.se_params / traced.params == pytest.approx(0.10, abs=0.005)


@pytest.mark.parametrize("position", ["standard", "post", "identity"])
def test_positions_behind_the_shortcut_cost_the_same(position):
    traced = trace(RESNET50)
    assert cost(traced, uniform(traced, position=position)).se_params == 2_514_944


@pytest.mark.parametrize(
    ("variant", "weights"),
    [("standard", 8_192), ("slow_squeeze", 12_800), ("slow_excite", 12_800), ("slow_both", 17_408), ("bump", 8_448)],
)
def test_variants_have_the_derived_weights_at_256_channels(variant, weights):
    block = se_block("standard", hidden_widths(variant, 256, 16))
    priced = block_price(block, (256, 7, 5))
    assert (priced.params, priced.flops) == (weights, weights + 2 * 256 * 7 * 5)
