"""Options of the models of timm and torchvision: those of their classes, in addition to senas's own."""

import logging

import pytest
import timm
import torch
from timm.layers import DropPath
from torchvision.models import get_model

from search_space.architecture import Architecture
from search_space.backbones import entry, instantiate, instantiate_without_weights, resolve
from search_space.backbones.timm_models import timm_entry
from search_space.building import build
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.uniform_architectures import uniform


def small(name, **options):
    return resolve(name, num_classes=4, input_size=(3, 64, 64), options=options)


def check_refused(name, options, *parts):
    with pytest.raises(InputError) as caught:
        small(name, **options)
    assert len(str(caught.value).splitlines()) == 1
    for part in parts:
        assert part in str(caught.value)


def drop_path_rates(module):
    return [part.drop_prob for part in module.modules() if isinstance(part, DropPath)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {"drop_path_rate": 0.2, "zero_init_last": False}),
        ("resnet10t", {"stem_width": 16, "act_layer": "silu"}),
        ("convnext_atto", {"drop_path_rate": 0.3, "drop_rate": 0.1}),
        ("regnetx_002", {"drop_path_rate": 0.1}),
        ("efficientnet_b0", {"drop_path_rate": 0.2}),
        ("repvgg_a0", {"drop_path_rate": 0.2}),
    ],
)
def test_options_make_the_model_that_timm_makes_with_them(name, options):
    ours, theirs = instantiate(small(f"timm:{name}", **options)), timm.create_model(name, num_classes=4, **options)
    assert repr(ours) == repr(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert drop_path_rates(ours) == drop_path_rates(theirs)
    assert any(drop_path_rates(ours)) == ("drop_path_rate" in options)
    assert repr(ours) != repr(instantiate(small(f"timm:{name}")))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet50", {"width_per_group": 128}),
        ("mobilenet_v2", {"width_mult": 0.5}),
        ("efficientnet_b0", {"stochastic_depth_prob": 0.5, "dropout": 0.1}),
    ],
)
def test_options_make_the_model_that_torchvision_makes_with_them(name, options):
    assert repr(instantiate_without_weights(small(name, **options))) == repr(
        get_model(name, weights=None, num_classes=4, **options)
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("timm:resnet10t", {"drop_path_rate": 0, "drop_rate": 0.0, "drop_block_rate": 0}),
        ("timm:resnet10t", {"stem_width": 32, "stem_type": "deep_tiered"}),  # the builder's, not the signature's
        ("timm:resnet50", {"stem_width": 64, "cardinality": 1}),
        ("timm:densenet121", {"drop_rate": 0}),
        ("resnet18", {"groups": 1, "zero_init_residual": False}),
        ("efficientnet_b0", {"dropout": 0.2}),
    ],
)
def test_an_option_with_its_usual_value_is_no_other_network(name, options):
    assert small(name, **options) == small(name)
    assert Architecture(small(name, **options)).id == Architecture(small(name)).id


def test_an_option_makes_another_architecture_and_comes_back_from_its_data():
    backbone = small("timm:resnet10t", drop_path_rate=0.25)
    assert backbone.options == (("drop_path_rate", 0.25), ("se", "keep"), ("stem", "imagenet"))
    assert small("timm:resnet10t").options == (("se", "keep"), ("stem", "imagenet"))
    architecture = Architecture(backbone)
    assert architecture.id != Architecture(small("timm:resnet10t")).id
    assert Architecture.from_yaml(architecture.to_yaml()) == architecture


def test_drop_path_is_traced_and_is_a_part_of_the_network_in_training():
    traced = trace(small("timm:resnet10t", drop_path_rate=0.5, zero_init_last=False))
    assert [site.name for site in traced.sites] == [site.name for site in trace(small("timm:resnet10t")).sites]
    network = build(uniform(traced))
    assert any(drop_path_rates(network))
    images = torch.rand(8, 3, 64, 64)
    torch.manual_seed(0)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("timm:resnet10t", {"drop_rat": 0.5}, ["option of backbone timm:resnet10t 'drop_rat'", "'drop_rate'"]),
        ("timm:resnet10t", {"drop_rate": 1}, ["drop_rate", "at least 0 and below 1", "1"]),
        ("timm:resnet10t", {"drop_path_rate": "a"}, ["drop_path_rate", "a number", "'a'"]),
        ("timm:resnet10t", {"stem_width": 1.5}, ["stem_width", "an integer such as 32", "1.5"]),
        ("timm:resnet10t", {"avg_down": 1}, ["avg_down", "true or false", "1"]),
        ("timm:resnet10t", {"act_layer": 3}, ["act_layer", "the name of a layer", "3"]),
        ("timm:resnet10t", {"act_layer": "nope"}, ["cannot be made with act_layer = nope"]),
        ("timm:resnet10t", {"layers": 3}, ["layers", "cannot be set"]),
        ("timm:resnet10t", {"num_classes": 3}, ["num_classes", "cannot be set", "follows from the data"]),
        ("timm:resnet10t", {"in_chans": 3}, ["in_chans", "cannot be set", "follows from the data"]),
        ("timm:resnet10t", {"pretrained": True}, ["pretrained", "cannot be set", "backbone.weights"]),
        ("timm:resnet10t", {"checkpoint_path": "w.pt"}, ["checkpoint_path", "cannot be set", "backbone.weights"]),
        ("timm:resnet10t", {"features_only": True}, ["features_only", "cannot be set"]),
        ("timm:efficientnet_b0", {"stem_size": 48}, ["cannot be made with stem_size = 48"]),
        ("efficientnet_b0", {"stochastic_depth_prob": 2}, ["stochastic_depth_prob", "below 1"]),
        ("wide_resnet50_2", {"width_per_group": 64}, ["cannot be made with width_per_group = 64"]),
        ("inception_v3", {"aux_logits": True}, ["aux_logits", "cannot be set"]),
    ],
)
def test_options_that_cannot_be_are_refused_with_the_reason(name, options, parts):
    check_refused(name, options, name, *parts)


@pytest.mark.parametrize("name", ["resnet5O", "ResNet50", "resnet-50", "efficientnet_bo", "convnxt_tiny"])
def test_an_unknown_timm_model_is_answered_with_models(name):
    with pytest.raises(InputError, match="did you mean") as caught:
        entry(f"timm:{name}")
    suggested = str(caught.value).partition("did you mean '")[2].partition("'")[0]
    assert timm.is_model(suggested)


@pytest.mark.parametrize("name", ["hf_hub:timm/resnet50", "hf-hub:timm/resnet50", "HF-hub:x", "local-dir:/somewhere"])
def test_timm_models_from_elsewhere_are_refused(name):
    check_refused(f"timm:{name}", {}, "would be fetched from elsewhere", "backbone.weights")


def test_a_tag_of_weights_is_accepted_with_a_warning(caplog):
    timm_entry.cache_clear()
    with caplog.at_level(logging.WARNING):
        tagged = small("timm:resnet10t.c3_in1k")
    assert "the tag c3_in1k names pretrained weights, which are not fetched" in caplog.text
    assert trace(tagged).params == trace(small("timm:resnet10t")).params
    check_refused("timm:resnet10t.a1_in1k", {}, "tag of timm model resnet10t", "c3_in1k")
