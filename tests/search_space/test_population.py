"""Populations against what is drawn and priced one by one."""

import random
from collections import Counter

import numpy as np
import pytest
from architecture_strategies import SMALL, examples
from hypothesis import assume, given
from hypothesis import strategies as st
from test_constraints import SPECS, recalling_backbone, space_of

from search_space.backbones import resolve
from search_space.constraints import Bounds, Constraints
from search_space.costs import cost
from search_space.population import Population, draw_population
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import TracedBackbone, trace


@pytest.fixture
def recalling(registered) -> TracedBackbone:
    return recalling_backbone(registered)


@given(data=st.data())
@examples(60)
def test_each_costs_what_it_costs_alone(data):
    space = space_of(trace(SMALL[data.draw(st.sampled_from(sorted(SMALL)))]), data.draw(SPECS))
    assume(space is not None)
    population = draw_population(space, 50, seed=data.draw(st.integers(0, 9)))
    assert len(population) == 50
    check_costs(space, population)
    assert population.feasible.all()


@given(data=st.data())
@examples(20)
def test_each_costs_what_it_costs_alone_where_blocks_are_alive_together(recalling, data):
    space = space_of(recalling, data.draw(SPECS))
    assume(space is not None)
    check_costs(space, draw_population(space, 30))


def check_costs(space: SearchSpace, population: Population) -> None:
    for i in range(len(population)):
        architecture = population.architecture(i)
        assert space.encode(architecture) is not None
        priced = cost(space.traced, architecture)
        told = (population.flops[i], population.params[i], population.memory[i])
        assert told == (priced.flops, priced.params, priced.memory)


def test_memory_where_blocks_are_alive_together_is_not_the_greatest_alone(recalling):
    """Otherwise the test above would show nothing."""
    space = SearchSpace(recalling, SpaceSpec(insertion={"choices": [False, True], "per": "layer"}, ratio=2))
    population = draw_population(space, 50)
    alone = [
        max(
            [
                recalling.memory,
                *(price.memory for entry in population.architecture(i).sites if (price := recalling.prices[entry])),
            ]
        )
        for i in range(50)
    ]
    assert (population.memory > np.array(alone)).any()


@pytest.mark.parametrize("per", ["network", "stage", "layer"])
def test_blocks_are_as_frequent_as_in_samples(per):
    choices = {"insertion": [False, True], "variant": ["standard", "eca"], "position": ["pre", "post"]}
    spec = SpaceSpec.model_validate(
        {name: {"choices": c, "per": per} for name, c in choices.items()} | {"ratio": [1, 2]}
    )
    space, number = SearchSpace(trace(SMALL["resnet8"]), spec), 4000
    population, rng = draw_population(space, number, seed=1), random.Random(1)
    one_by_one = [space.sample(rng) for _ in range(number)]
    at_once = [population.architecture(i) for i in range(number)]
    for site in space.traced.sites:
        counts = [Counter(a.se.get(site.name) for a in drawn) for drawn in (one_by_one, at_once)]
        assert_alike(*counts)
    # and together, so that what is chosen once for all is
    assert_alike(*(Counter(tuple(name for name, _ in a.sites) for a in drawn) for drawn in (one_by_one, at_once)))
    assert_alike(
        *(Counter(frozenset(se.position for _, se in a.sites) for a in drawn) for drawn in (one_by_one, at_once))
    )


def assert_alike(left: Counter, right: Counter) -> None:
    """Two samples of one distribution: chi-squared, six standard deviations of it allowed."""
    squared = sum((left[key] - right[key]) ** 2 / (left[key] + right[key]) for key in left | right)
    freedom = max(1, len(left | right) - 1)
    assert squared < freedom + 6 * (2 * freedom) ** 0.5


def test_the_feasible_are_those_that_the_space_finds_feasible():
    traced = trace(SMALL["resnet20"])
    free = draw_population(SearchSpace(traced, SpaceSpec()), 300)
    middle = {name: float(np.median(getattr(free, name))) for name in ("flops", "params")}
    overhead = float(np.quantile((free.flops - traced.flops) / traced.flops, 0.2))
    for constraints in (
        Constraints(flops=Bounds(max=middle["flops"])),
        Constraints(flops=Bounds(min=middle["flops"]), params=Bounds(max=middle["params"] * 1.01)),
        Constraints(flops_overhead=Bounds(max=overhead)),
        Constraints(params_overhead=Bounds(min=0.01, max=0.05), memory=Bounds(min=1)),
    ):
        space = SearchSpace(traced, SpaceSpec(constraints=constraints))
        population = draw_population(space, 300)
        expected = [space.is_feasible(population.architecture(i)) for i in range(300)]
        assert population.feasible.tolist() == expected
        assert 0 < sum(expected) < 300
        assert (population.chosen == free.chosen).all()


def test_a_seed_says_what_is_drawn():
    space = SearchSpace(trace(SMALL["resnet20"]), SpaceSpec())
    first, again, other = (draw_population(space, 200, seed=seed) for seed in (3, 3, 4))
    assert (first.chosen == again.chosen).all()
    assert (first.chosen != other.chosen).any()


def test_a_space_without_a_choice_has_a_population_of_its_one_architecture():
    traced = trace(SMALL["resnet8"])
    space = SearchSpace(traced, SpaceSpec(insertion=True, variant="standard", position="post", ratio=2))
    population = draw_population(space, 7)
    assert {population.architecture(i) for i in range(7)} == {space.decode({})}
    assert len(draw_population(space, 0)) == 0


def test_more_than_fit_one_part_are_priced_to_the_last():
    space = SearchSpace(trace(resolve("resnet50", num_classes=1000, input_size=(3, 224, 224))), SpaceSpec())
    population = draw_population(space, 200_000)
    for i in (0, 65_535, 65_536, 131_072, 199_999):
        priced = cost(space.traced, population.architecture(i))
        assert (population.flops[i], population.params[i]) == (priced.flops, priced.params)
    assert population.flops.min() >= space.cost_range.flops[0]
    assert population.flops.max() <= space.cost_range.flops[1]
