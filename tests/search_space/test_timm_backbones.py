"""Networks of timm that a trace has to take special care of, and those that it refuses."""

import pytest
import torch

from search_space.architecture import Architecture
from search_space.backbones import entry, resolve
from search_space.building import build, build_without_weights
from search_space.costs import cost
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options

timm = pytest.importorskip("timm")

TWINS = {
    "tf_efficientnet_b0": "efficientnet_b0",
    "tf_mixnet_s": "mixnet_s",
    "gc_efficientnetv2_rw_t": "efficientnetv2_rw_t",
    "gcresnext26ts": "seresnext26ts",
    "legacy_seresnet18": "resnet18",
    "dm_nfnet_f0": "nfnet_f0",
}
"""Networks that differ from others in their padding, their kind of convolution, their gates or their head."""

OTHERS = [
    "efficientnet_cc_b0_4e",
    "tf_mobilenetv3_small_minimal_100",
    "ghostnet_050",
    "repghostnet_050",
    "pnasnet5large",
    "vgg11_bn",
]

WITH_ATTENTION = [
    *("bat_resnext26ts", "botnet26t_256", "cait_xxs24_224", "coat_lite_mini", "coatnet_pico_rw_224", "convit_tiny"),
    *("cpubone_nano", "efficientformerv2_s0", "efficientvit_b0", "gcvit_xxtiny", "hiera_tiny_224", "levit_128"),
    *("mobilevit_xxs", "mobilevitv2_050", "resnet101_clip", "swin_tiny_patch4_window7_224", "twins_svt_small"),
    *("visformer_tiny", "vit_tiny_patch16_224"),
]


def at(name, size=None, classes=1000):
    usual = entry(f"timm:{name}").usual_input
    return resolve(f"timm:{name}", num_classes=classes, input_size=usual if size is None else (3, size, size))


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_a_network_has_the_sites_of_its_twin(name):
    size = at(TWINS[name]).input_size[1]
    sites, others = (trace(at(n, size)).sites for n in (name, TWINS[name]))
    assert [(site.stage, set(site.shapes)) for site in sites] == [(site.stage, set(site.shapes)) for site in others]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TWINS, *OTHERS])
def test_convolutional_networks_have_sites_and_cost_what_timm_makes(name):
    traced = trace(at(name))
    with torch.device("meta"):
        assert traced.params == sum(p.numel() for p in timm.create_model(name).parameters())
    architecture = uniform(traced, options=Options(ratio=4))
    assert architecture.sites
    assert cost(traced, architecture).params == sum(p.numel() for p in build_without_weights(architecture).parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_networks_with_attention_are_refused_at_any_size(name):
    for backbone in (at(name), at(name, size=64)):
        with pytest.raises(InputError, match=f"backbone timm:{name} is a transformer or has attention like one"):
            trace(backbone)


def check_same(network, module, size):
    x = torch.rand(2, 3, size, size)
    for training in (False, True):
        results = []
        for made in (network, module):
            torch.manual_seed(1)
            results.append(made.train(training)(x))
        assert torch.equal(*results)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("tf_efficientnet_b0", "efficientnet_cc_b0_4e", "ghostnet_050", "gcresnext26ts", "legacy_seresnet18"),
    ],
)
def test_networks_without_se_are_timms_own_and_those_with_se_learn(name):
    backbone = at(name, size=64, classes=4)
    network, module = build(Architecture(backbone)), timm.create_model(name, num_classes=4)
    network.load_state_dict(module.state_dict())
    for size in (64, 75):
        check_same(network, module, size)
    with_se = build(uniform(trace(backbone), options=Options(ratio=2)))
    with_se(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in with_se.se.parameters())
