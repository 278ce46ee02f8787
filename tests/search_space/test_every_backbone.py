"""Every backbone there is: random architectures on it cost in closed form what is counted on the built network."""

import random

import pytest
import torch
from counting import elementwise_flops, layer_flops
from torchvision.models import get_model_weights

from search_space.architecture import EXCITATIONS, SQUEEZES, Architecture, Backbone
from search_space.backbones import BACKBONES, backbone_names, entry, resolve
from search_space.backbones.torchvision_models import torchvision_names
from search_space.building import build, build_without_weights
from search_space.costs import cost
from search_space.errors import InputError
from search_space.tracing import TracedBackbone, trace
from search_space.variants import Options, block, variant_names

TRANSFORMERS = [n for n in torchvision_names() if n.startswith(("vit_", "swin_", "maxvit"))]
CONVOLUTIONAL = [n for n in backbone_names() if n not in TRANSFORMERS]


def usual(name: str) -> Backbone:
    return resolve(name, num_classes=1000, input_size=entry(name).usual_input)


def random_architecture(traced: TracedBackbone, rng: random.Random) -> Architecture:
    """At about two of three sites a block of any variant at any position."""
    chosen = []
    for site in traced.sites:
        if rng.random() < 2 / 3:
            position = rng.choice(sorted(site.shapes))
            options = Options(
                rng.choice([1, 2, 3, 8, 16, 64]), rng.choice(SQUEEZES), rng.choice(EXCITATIONS), rng.random() < 0.5
            )
            made = block(
                rng.choice(variant_names()),
                position,
                site.channels(position),
                options,
                from_identity=rng.random() < 0.3,
            )
            chosen.append((site.name, made))
    return Architecture(traced.backbone, tuple(chosen))


def test_torchvision_and_the_bundled_backbones_are_all_here():
    assert set(CONVOLUTIONAL) | set(TRANSFORMERS) == {*BACKBONES, *torchvision_names()}
    assert len(CONVOLUTIONAL) > 80


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_cost_is_what_is_counted_on_the_built_network(name):
    traced = trace(usual(name))
    assert traced.sites
    for seed in (0, 1):
        architecture = random_architecture(traced, random.Random(f"{name} {seed}"))
        assert architecture.sites
        priced = cost(traced, architecture)
        network = build_without_weights(architecture).eval()
        assert priced.params == sum(p.numel() for p in network.parameters())
        assert priced.se_params == sum(p.numel() for n, p in network.named_parameters() if n.startswith("se."))
        of_layers, in_blocks = layer_flops(network, traced.backbone.input_size)
        beside = sum(elementwise_flops(se, traced.site(s).shape(se.position)) for s, se in architecture.sites)
        assert priced.flops == of_layers + beside
        assert priced.se_flops == in_blocks + beside


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in torchvision_names() if n in CONVOLUTIONAL and n not in BACKBONES])
def test_backbones_of_torchvision_have_the_figures_that_torchvision_publishes(name):
    meta = next(iter(get_model_weights(name))).meta
    traced = trace(usual(name))
    auxiliary_head = {"inception_v3": 3_326_696}.get(name, 0)  # it is counted there, and left out here
    assert traced.params == meta["num_params"] - auxiliary_head
    assert round(traced.flops / 1e9, 3) == pytest.approx(meta["_ops"], abs=0.0011)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_are_refused(name):
    with pytest.raises(InputError, match=f"backbone {name} is a transformer") as caught:
        trace(usual(name))
    assert len(str(caught.value).splitlines()) == 1


def test_there_are_transformers_to_refuse():
    assert {"vit_b_16", "swin_t", "swin_v2_t", "maxvit_t"} <= set(TRANSFORMERS)


# stochastic depth


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny"])
def test_stochastic_depth_acts_in_training_alone(name):
    traced = trace(resolve(name, num_classes=4, input_size=(3, 32, 32)))
    network = build(random_architecture(traced, random.Random(0)))
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # what is left to chance is the depth
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.5
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    x = torch.rand(2, 3, 32, 32)
    network.train(True)
    with torch.no_grad():
        first, second = network(x), network(x)
        assert not torch.equal(first, second)
        network.eval()
        assert torch.equal(network(x), network(x))
