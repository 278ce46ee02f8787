"""Enumeration against brute force: every setting of every parameter, in order, made unique."""

import tracemalloc
from itertools import islice, product

import pytest
from architecture_strategies import SMALL, examples
from hypothesis import assume, given
from hypothesis import strategies as st

from search_space.architecture import Architecture
from search_space.backbones import resolve
from search_space.constraints import Constraints
from search_space.costs import cost
from search_space.enumeration import enumerate_architectures
from search_space.several import SeveralBackbones
from search_space.space import SearchSpace
from search_space.spec import DIMENSIONS, SpaceSpec
from search_space.tracing import trace

SETTINGS_LIMIT = 3000

TRACED = {name: trace(backbone) for name, backbone in SMALL.items()}


def by_brute_force(space: SearchSpace) -> list[Architecture]:
    """The distinct architectures of all settings, in the order of the first that makes each."""
    names = [space.parameter(d, space.traced.sites[0]) for d in DIMENSIONS if space.spec.choice(d).per == "network"]
    for stage in space.stages:
        names += [space.parameter(d, stage[0]) for d in DIMENSIONS if space.spec.choice(d).per == "stage"]
        for site in stage:
            names += [space.parameter(d, site) for d in DIMENSIONS if space.spec.choice(d).per == "layer"]
    settings = product(*(space.choices(name) for name in names))
    return list(dict.fromkeys(space.decode(dict(zip(names, values, strict=True))) for values in settings))


def choices_of(values: list, limit: int) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries(
        {
            "choices": st.lists(st.sampled_from(values), min_size=1, max_size=limit, unique=True),
            "per": st.sampled_from(["network", "stage", "layer"]),
        }
    )


SPECS = st.fixed_dictionaries(
    {
        "insertion": choices_of([False, True], 2),
        "variant": choices_of(["standard", "bump", "slow_squeeze", "eca", "simam"], 3),
        "position": choices_of(["standard", "pre", "post"], 2),
        # at these widths, many of them are the same
        "ratio": choices_of([1, 2, 3, 4], 3),
        "squeeze": choices_of(["avg", "max"], 2),
    }
)


@st.composite
def small_spaces(draw) -> SearchSpace:
    name, spec = draw(st.sampled_from(sorted(TRACED))), draw(SPECS)
    if name.startswith("cnn3"):
        spec = spec | {"position": "standard"}
    space = SearchSpace(TRACED[name], SpaceSpec.model_validate(spec))
    number = 1
    for values in space.parameters.values():
        number *= len(values)
    assume(number <= SETTINGS_LIMIT)
    return space


@given(small_spaces())
@examples(120)
def test_every_architecture_comes_once_in_the_order_of_first_encodings(space):
    enumerated = list(enumerate_architectures(space))
    assert enumerated == by_brute_force(space)
    assert len(enumerated) == space.size


@given(small_spaces(), st.data())
@examples(80)
def test_under_constraints_it_is_what_meets_them(space, data):
    every = by_brute_force(space)
    costs = [cost(space.traced, architecture) for architecture in every]
    example = data.draw(st.sampled_from(costs))
    overhead = example.se_params / space.traced.params
    limits = {
        "flops": {data.draw(st.sampled_from(["min", "max"])): float(example.flops)},
        "params": {data.draw(st.sampled_from(["min", "max"])): float(example.params)},
        "params_overhead": {"min": overhead, "max": overhead},
        "memory": {data.draw(st.sampled_from(["min", "max"])): float(example.memory)},
    }
    chosen = data.draw(st.sets(st.sampled_from(sorted(limits)), min_size=1))
    constraints = Constraints.model_validate({quantity: limits[quantity] for quantity in chosen})
    constrained = SearchSpace(space.traced, space.spec.model_copy(update={"constraints": constraints}))
    expected = [a for a, c in zip(every, costs, strict=True) if not any(constraints.violations(c))]
    assert expected
    assert list(enumerate_architectures(constrained)) == expected


def test_several_backbones_come_one_after_another():
    spaces = {name: SearchSpace(TRACED[name], SpaceSpec(ratio=2, position="standard")) for name in ("resnet8", "cnn3")}
    several = SeveralBackbones(spaces)
    enumerated = list(enumerate_architectures(several))
    assert enumerated == [a for space in spaces.values() for a in by_brute_force(space)]
    assert len(enumerated) == several.size


@pytest.fixture(scope="module")
def resnet110():
    return trace(resolve("resnet110", num_classes=10, input_size=(3, 16, 16), options={"width": 8}))


@pytest.mark.timeout(120)
def test_of_a_large_space_the_first_are_to_be_had_at_once(resnet110):
    space = SearchSpace(resnet110, SpaceSpec(ratio=[2, 4, 8, 16]))
    assert space.size > 10**12
    first = list(islice(enumerate_architectures(space), 1000))
    assert len(set(first)) == 1000
    assert all(architecture in space for architecture in first[::25])


@pytest.mark.timeout(120)
def test_what_is_given_is_not_remembered(resnet110):
    architectures = enumerate_architectures(SearchSpace(resnet110, SpaceSpec(ratio=[2, 4, 8, 16])))
    last = list(islice(architectures, 500))[-1]
    tracemalloc.start()
    try:
        given = sum(architecture != last for architecture in islice(architectures, 5000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert given == 5000
    # two hundred bytes each; an architecture has more
    assert peak < 1e6


@pytest.mark.timeout(120)
def test_what_cannot_meet_the_constraints_is_not_gone_through(resnet110):
    spec = {"variant": "standard", "position": "standard", "ratio": [2, 4, 8]}
    spec["insertion"] = {"choices": [False, True], "per": "layer"}
    costly = SearchSpace(resnet110, SpaceSpec.model_validate(spec)).cost_range.params[1]
    spec["constraints"] = {"params": {"min": float(costly)}}
    space = SearchSpace(resnet110, SpaceSpec.model_validate(spec))
    (only,) = enumerate_architectures(space)
    assert cost(resnet110, only).params == costly
