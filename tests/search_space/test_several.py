"""A space over several backbones: the union of their spaces, each under its label."""

import random
from collections import Counter
from dataclasses import replace

import optuna
import pytest
from architecture_strategies import SMALL, examples
from hypothesis import given
from hypothesis import strategies as st
from se_block import se_block

from search_space.architecture import Architecture, Backbone
from search_space.costs import cost
from search_space.enumeration import enumerate_architectures
from search_space.errors import InputError
from search_space.several import SeveralBackbones, label
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import trace

SPECS = {
    "resnet8": SpaceSpec(variant=["standard", "eca"], position=["standard", "pre"], ratio=[2, 4]),
    "resnet20": SpaceSpec(variant="standard", position=["pre", "post", "identity"], ratio=2),
    "cnn3": SpaceSpec(insertion=True, variant=["bump", "simam"], position="standard", ratio=[3, 2]),
}
SPACES = {name: SearchSpace(trace(SMALL[name]), spec) for name, spec in SPECS.items()}
SPACE = SeveralBackbones(SPACES)
MEMBERS = list(enumerate_architectures(SPACE))


def test_it_is_the_union_of_its_spaces():
    assert SPACE.size == sum(space.size for space in SPACES.values()) == len(set(MEMBERS))
    assert dict(SPACE.spaces) == SPACES
    costs = [cost(SPACES[label(a.backbone, ())].traced, a) for a in MEMBERS]
    for quantity in ("flops", "params", "memory"):
        values = [getattr(price, quantity) for price in costs]
        assert getattr(SPACE.cost_range, quantity) == (min(values), max(values))


def test_the_backbone_is_asked_first_and_the_rest_under_its_label():
    assert next(iter(SPACE.parameters.items())) == ("backbone", ("resnet8", "resnet20", "cnn3"))
    assert SPACE.parameters["resnet8/layer1.position"] == ("standard", "pre")
    assert SPACE.parameters["resnet20/layer1.position"] == ("pre", "post", "identity")
    assert len(SPACE.parameters) == 1 + sum(len(space.parameters) for space in SPACES.values())


@given(st.sampled_from(MEMBERS))
@examples(80)
def test_what_is_encoded_decodes(architecture):
    encoding = SPACE.encode(architecture)
    assert SPACE.decode(encoding) == architecture
    assert next(iter(encoding)) == "backbone"
    assert all(value in SPACE.parameters[name] for name, value in encoding.items())
    own = {name.rpartition("/")[2]: value for name, value in encoding.items() if name != "backbone"}
    assert own == SPACES[encoding["backbone"]].encode(architecture)
    assert architecture in SPACE
    assert SPACE.is_feasible(architecture)


@given(st.integers(0, 2**32))
@examples(40)
def test_a_complete_set_of_parameters_decodes_too(seed):
    rng = random.Random(seed)
    setting = {name: rng.choice(values) for name, values in SPACE.parameters.items()}
    architecture = SPACE.decode(setting)
    assert architecture.backbone == SMALL[setting["backbone"]]
    assert SPACE.suggest(Fixed(setting)) == architecture


class Fixed:
    def __init__(self, setting: dict) -> None:
        self.setting = setting

    def suggest_categorical(self, name, choices):
        assert tuple(choices) == SPACE.parameters[name]
        return self.setting[name]


def test_optuna_can_ask_for_it():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    made = []
    for _ in range(60):
        trial = study.ask()
        made.append(SPACE.suggest(trial))
        assert SPACE.decode(trial.params) == made[-1]
        assert made[-1] in SPACE
        study.tell(trial, 0.0)
    assert {architecture.backbone for architecture in made} == {SMALL[name] for name in SPACES}


def test_sampling_draws_the_backbone_uniformly_and_reaches_everything():
    rng = random.Random(0)
    small = SeveralBackbones({"resnet20": SPACES["resnet20"], "cnn3": SPACES["cnn3"]})
    drawn = Counter(small.sample(rng) for _ in range(4000))
    assert set(drawn) == set(enumerate_architectures(small))
    of_cnn3 = sum(number for architecture, number in drawn.items() if architecture.backbone == SMALL["cnn3"])
    assert 1850 < of_cnn3 < 2150
    assert small.sample(random.Random(0)) == small.sample(random.Random(0))


def test_of_one_backbone_it_is_the_space_with_prefixed_names():
    one = SeveralBackbones({"net": SPACES["resnet20"]})
    assert set(one.parameters) == {f"net/{name}" for name in SPACES["resnet20"].parameters}
    for architecture in enumerate_architectures(SPACES["resnet20"]):
        encoding = one.encode(architecture)
        assert set(encoding) <= set(one.parameters)
        assert one.decode(encoding) == architecture


def test_constraints_hold_on_each_backbone():
    space = SPACES["resnet8"]
    bound = {"params": {"max": float(space.traced.params)}}
    cheap = SearchSpace(space.traced, SpaceSpec.model_validate(space.spec.model_dump() | {"constraints": bound}))
    several = SeveralBackbones({"resnet8": cheap, "cnn3": SPACES["cnn3"]})
    members = set(enumerate_architectures(several))
    costly = set(MEMBERS) - members - set(enumerate_architectures(SPACES["resnet20"]))
    assert {architecture.backbone for architecture in costly} == {SMALL["resnet8"]}
    for architecture in members:
        assert several.is_feasible(architecture)
        assert architecture in several
    for architecture in costly:
        assert not several.is_feasible(architecture)
        assert "is above the maximum" in several.why_not(architecture)
        assert several.decode(several.encode(architecture)) == architecture


def test_architectures_of_other_backbones_and_blocks_are_outside():
    other = Architecture(replace(SMALL["resnet8"], num_classes=11))
    assert other not in SPACE
    assert SPACE.encode(other) is None
    assert "num_classes=11" in SPACE.why_not(other)
    with pytest.raises(InputError, match="num_classes=11"):
        SPACE.is_feasible(other)
    odd = Architecture(SMALL["resnet20"], (("layer1.0", se_block("pre", (3,))),))
    assert odd not in SPACE
    assert SPACE.encode(odd) is None
    assert "widths 3 is not offered" in SPACE.why_not(odd)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, r"parameter backbone is missing \(choices: resnet8, resnet20, cnn3\)"),
        ({"backbone": "resnet9"}, "unknown backbone 'resnet9': did you mean 'resnet8'"),
        ({"backbone": "resnet20"}, "backbone resnet20: parameter layer1.insertion is missing"),
        ({"backbone": "resnet20", "layer1.insertion": False}, "unknown parameter 'layer1.insertion'"),
        ({"backbone": "resnet20", "resnet20/ratoi": 2}, "backbone resnet20: unknown parameter 'ratoi'"),
        ({"backbone": "resnet20", "resnet8/ratoi": 2}, "unknown parameter 'resnet8/ratoi'"),
    ],
    ids=str,
)
def test_parameters_that_do_not_decode_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        SPACE.decode(parameters)


def test_no_backbone_and_the_same_one_twice_are_refused():
    with pytest.raises(InputError, match="at least one"):
        SeveralBackbones({})
    with pytest.raises(InputError, match="a and c are the same backbone"):
        SeveralBackbones({"a": SPACES["resnet8"], "b": SPACES["cnn3"], "c": SPACES["resnet8"]})


def test_a_label_tells_apart_what_has_the_same_name():
    def net(name: str = "resnet20", size: int = 32, **options) -> Backbone:
        return Backbone(name, 10, (3, size, size), tuple(sorted(options.items())))

    narrow, wide, plain = net(width=16, depth=2), net(width=32, depth=2), net("cnn3", width=8)
    assert [label(one, [narrow, wide, plain]) for one in (narrow, wide, plain)] == [
        "resnet20(width=16)",
        "resnet20(width=32)",
        "cnn3",
    ]
    assert label(narrow, []) == label(narrow, [narrow]) == "resnet20"
    assert label(net(size=64, width=16), [net(width=32)]) == "resnet20(width=16, input_size=3x64x64)"
