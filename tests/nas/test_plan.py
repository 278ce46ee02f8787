"""A configuration made concrete: which sites each backbone has."""

import pytest

from nas.config import parse_config
from nas.plan import plan
from search_space.errors import InputError


def planned(sites, *backbones):
    return plan(
        parse_config(
            {
                "study": "planned",
                "backbones": [{"name": name} for name in backbones],
                "data": {"name": "digits"},
                "space": {"sites": sites, "ratio": 2},
                "search": {"trials": 1, "epochs": 1},
            }
        )
    )


def names(space):
    return [site.name for site in space.traced.sites]


def test_a_pattern_need_match_a_site_of_some_backbone_only():
    found = planned(["layer3.*", "features.1*"], "resnet8", "mobilenet_v2").spaces
    assert names(found["resnet8"]) == ["layer3.0"]
    assert names(found["mobilenet_v2"]) == ["features.1", *(f"features.{i}" for i in range(10, 18))]


def test_patterns_that_match_no_site_are_refused():
    with pytest.raises(InputError, match=r"unknown site or pattern of sites 'layer9\.\*'"):
        planned(["layer3.*", "layer9.*"], "resnet8")
    with pytest.raises(InputError, match=r"none of layer3\.\* matches a site of backbone mobilenet_v2"):
        planned(["layer3.*"], "resnet8", "mobilenet_v2")


def test_parameters_and_baselines_are_of_the_chosen_sites_alone():
    found = planned(["layer2.0", "layer3.0"], "resnet8")
    assert {name.partition(".")[0] for name in found.space.parameters} == {"layer2", "layer3", "variant"}
    for name, architecture in found.baselines().items():
        assert set(architecture.se) == (set() if name == "no SE" else {"layer2.0", "layer3.0"})


def test_sites_of_another_rule_are_planned():
    assert len(names(planned("convolutions", "resnet8").space)) == 7
