"""Neighbours, mutation and crossover against all settings of small spaces."""

import random
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product

import pytest
from architecture_strategies import SMALL, examples
from hypothesis import given
from hypothesis import strategies as st

from search_space.architecture import Architecture
from search_space.costs import cost
from search_space.enumeration import enumerate_architectures
from search_space.errors import InputError
from search_space.moves import crossover, mutate, neighbours
from search_space.several import SeveralBackbones
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import trace

TRACED = {name: trace(backbone) for name, backbone in SMALL.items()}
PER_LAYER = {"choices": [False, True], "per": "layer"}


def space(name: str, **dimensions) -> SearchSpace:
    fixed = {"variant": "standard", "position": "standard", "ratio": 2}
    return SearchSpace(TRACED[name], SpaceSpec.model_validate(fixed | dimensions))


SPACES = {
    "conditional": space("resnet8", variant=["standard", "bump", "simam"], position=["standard", "pre"]),
    "with ratios that are the same width": space("resnet8", ratio=[2, 4, 8]),
    "per layer": space("cnn3", insertion=PER_LAYER, variant=["standard", "eca"], ratio=[2, 3]),
    "always inserted": space("cnn3", insertion=True, ratio=[2, 3, 6], squeeze=["avg", "max"]),
    "per stage": space("resnet20", ratio={"choices": [2, 4], "per": "stage"}, squeeze=["avg", "max"]),
}
SPACES["several backbones"] = SeveralBackbones(
    {
        "resnet8": space("resnet8", position=["standard", "pre"]),
        "cnn3": space("cnn3", insertion=PER_LAYER, ratio=[2, 3]),
    }
)
MEMBERS = {name: list(enumerate_architectures(one)) for name, one in SPACES.items()}

SOME_MEMBER = st.sampled_from([(name, member) for name, members in MEMBERS.items() for member in members])
TWO_MEMBERS = st.sampled_from(sorted(MEMBERS)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(MEMBERS[name]), st.sampled_from(MEMBERS[name]))
)


def settings(any_space: SearchSpace | SeveralBackbones) -> list[dict]:
    names = any_space.parameters
    return [dict(zip(names, values, strict=True)) for values in product(*names.values())]


SETTINGS = {
    name: [(setting, one.decode(setting)) for setting in settings(one)]
    for name, one in SPACES.items()
    if name != "several backbones"
}
SOME_SETTINGS_MEMBER = SOME_MEMBER.filter(lambda drawn: drawn[0] in SETTINGS)


@dataclass
class Only:
    """A space of which only some architectures meet the constraints."""

    space: SearchSpace
    allowed: list[Architecture]
    sampled: bool = False

    def suggest(self, suggester):
        return self.space.suggest(suggester)

    def encode(self, architecture):
        return self.space.encode(architecture)

    def sample(self, rng):
        self.sampled = True
        return rng.choice(self.allowed)

    def is_feasible(self, architecture):
        return architecture in self.allowed

    def why_not(self, architecture):
        return None if architecture in self.allowed else "it is not allowed"


# neighbours


@given(SOME_MEMBER)
@examples(150)
def test_neighbours_are_what_one_change_makes(drawn):
    name, architecture = drawn
    one = SPACES[name]
    encoding = one.encode(architecture)
    first = {parameter: values[0] for parameter, values in one.parameters.items()}
    changed = [
        one.decode(first | encoding | {parameter: value})
        for parameter in encoding
        for value in one.parameters[parameter]
    ]
    found = list(neighbours(one, architecture))
    assert found == [other for other in dict.fromkeys(changed) if other != architecture]
    assert all(other in one for other in found)


@pytest.mark.parametrize("name", SPACES)
def test_every_architecture_is_reached_from_every_other(name):
    graph = {member: list(neighbours(SPACES[name], member)) for member in MEMBERS[name]}
    for start in graph:
        assert reached(graph, start) == set(graph)


def reached(graph: dict[Architecture, list[Architecture]], start: Architecture) -> set[Architecture]:
    seen, ahead = {start}, [start]
    while ahead:
        new = set(graph[ahead.pop()]) - seen
        seen |= new
        ahead += new
    return seen


def test_neighbours_are_made_as_they_are_asked_for():
    class Counting(Only):
        asked = 0

        def suggest(self, suggester):
            self.asked += 1
            return super().suggest(suggester)

    members = MEMBERS["per layer"]
    counting = Counting(SPACES["per layer"], members)
    next(neighbours(counting, members[-1]))
    after_one = counting.asked
    list(neighbours(counting, members[-1]))
    assert counting.asked - after_one > after_one


# mutation


@given(SOME_MEMBER, st.integers(0, 2**32))
@examples(200)
def test_a_mutant_is_another_member(drawn, seed):
    name, architecture = drawn
    mutant = mutate(SPACES[name], architecture, random.Random(seed))
    assert mutant != architecture
    assert mutant in SPACES[name]
    assert mutant == mutate(SPACES[name], architecture, random.Random(seed))


@given(SOME_SETTINGS_MEMBER)
@examples(6)
def test_mutants_are_all_that_one_parameter_and_what_then_begins_to_matter_make(drawn):
    name, architecture = drawn
    encoding = SPACES[name].encode(architecture)
    expected = {
        made
        for setting, made in SETTINGS[name]
        if sum(setting[parameter] != value for parameter, value in encoding.items()) == 1
    } - {architecture}
    rng = random.Random(0)
    assert {mutate(SPACES[name], architecture, rng) for _ in range(600)} == expected


def test_parameters_and_their_values_are_mutated_with_even_chance():
    one = space("cnn3", insertion=True, ratio=[1, 2, 3, 6], squeeze=["avg", "max"])
    architecture = next(enumerate_architectures(one))
    encoding = one.encode(architecture)
    rng = random.Random(0)
    changes = Counter()
    for _ in range(4000):
        mutant = one.encode(mutate(one, architecture, rng))
        changes.update((name, value) for name, value in mutant.items() if value != encoding[name])
    assert len(changes) == 1 + 3 * 3
    for (name, _), number in changes.items():
        assert number / 4000 == pytest.approx(1 / 4 if name == "squeeze" else 1 / 12, rel=0.2)


def test_a_change_beyond_the_constraints_gives_way_to_another_and_last_to_a_sample():
    one, members = SPACES["always inserted"], MEMBERS["always inserted"]
    architecture = members[0]
    near = list(neighbours(one, architecture))
    for other in members[1:]:
        only = Only(one, [architecture, other])
        for seed in range(3):
            assert mutate(only, architecture, random.Random(seed)) == other
            # only one that no single change makes is sampled
            assert only.sampled == (other not in near)
    assert 0 < len(near) < len(members) - 1


def test_where_there_is_no_other_architecture_a_mutant_is_the_same():
    architecture = MEMBERS["per layer"][3]
    assert mutate(Only(SPACES["per layer"], [architecture]), architecture, random.Random(0)) == architecture


# crossover


@given(SOME_MEMBER, st.integers(0, 2**32))
@examples(60)
def test_a_child_of_an_architecture_with_itself_is_the_same(drawn, seed):
    name, architecture = drawn
    assert crossover(SPACES[name], architecture, architecture, random.Random(seed)) == architecture


@given(TWO_MEMBERS.filter(lambda drawn: drawn[0] in SETTINGS))
@examples(15)
def test_children_are_all_that_the_parameters_of_the_parents_make(drawn):
    name, *parents = drawn
    encodings = [SPACES[name].encode(parent) for parent in parents]
    inherited: dict[str, set] = {}
    for parameter, value in (item for encoding in encodings for item in encoding.items()):
        inherited.setdefault(parameter, set()).add(value)
    expected = {
        made
        for setting, made in SETTINGS[name]
        if all(setting[parameter] in values for parameter, values in inherited.items())
    }
    rng = random.Random(0)
    children = {crossover(SPACES[name], *parents, rng) for _ in range(200)}
    assert children <= expected
    # the rarest of many need more draws
    assert len(expected) > 12 or children == expected


@given(TWO_MEMBERS, st.integers(0, 2**32))
@examples(150)
def test_a_child_is_a_member_and_reproducible(drawn, seed):
    name, *parents = drawn
    child = crossover(SPACES[name], *parents, random.Random(seed))
    assert child in SPACES[name]
    assert child == crossover(SPACES[name], *parents, random.Random(seed))


def test_where_each_site_has_one_parameter_its_block_is_that_of_either_parent():
    one = space("resnet20", insertion=True, ratio=[1, 2, 4])
    mother, father = (one.sample(random.Random(seed)) for seed in (0, 1))
    rng = random.Random(0)
    from_mother: Counter = Counter()
    for _ in range(400):
        for site, se in crossover(one, mother, father, rng).sites:
            assert se in (mother.se[site], father.se[site])
            from_mother[site] += se == mother.se[site]
    apart = [site for site in mother.se if mother.se[site] != father.se[site]]
    assert len(apart) > 3
    assert all(150 < from_mother[site] < 250 for site in apart)


def test_parents_of_two_backbones_have_the_children_of_either():
    several, members = SPACES["several backbones"], MEMBERS["several backbones"]
    parents = members[3], members[-1]
    rng = random.Random(0)
    children = Counter(crossover(several, *parents, rng) for _ in range(200))
    assert set(children) == set(parents)
    assert min(children.values()) > 60


def test_where_no_child_meets_the_constraints_a_parent_is_mutated():
    one = space("resnet20", insertion=True, ratio=[1, 2], squeeze={"choices": ["avg", "max"], "per": "layer"})
    mother = one.decode({name: values[0] for name, values in one.parameters.items()})
    father = one.decode({name: values[1] for name, values in one.parameters.items()})
    near = [next(neighbours(one, parent)) for parent in (mother, father)]
    # of 2^18 children these are four
    only = Only(one, [mother, father, *near])
    assert len(one.parameters) == 18
    born = {crossover(only, mother, father, random.Random(seed)) for seed in range(12)}
    assert born == set(near)


# constraints and strangers


def test_all_moves_keep_to_the_constraints():
    free = space("resnet8", position=["standard", "pre"], ratio=[1, 2, 4])
    bound = (free.cost_range.params[0] + free.cost_range.params[1]) // 2
    bounded = SearchSpace(
        free.traced,
        SpaceSpec.model_validate(free.spec.model_dump() | {"constraints": {"params": {"max": float(bound)}}}),
    )
    members = set(enumerate_architectures(bounded))
    assert 0 < len(members) < free.size
    rng = random.Random(0)
    kept = dropped = 0
    for architecture in members:
        near = set(neighbours(free, architecture))
        assert set(neighbours(bounded, architecture)) == near & members
        kept, dropped = kept + len(near & members), dropped + len(near - members)
        other = rng.choice(sorted(members, key=lambda member: member.id))
        assert mutate(bounded, architecture, rng) in members - {architecture}
        assert crossover(bounded, architecture, other, rng) in members
    assert kept > 100
    assert dropped > 20
    costly = max(enumerate_architectures(free), key=lambda member: cost(free.traced, member).params)
    with pytest.raises(InputError, match="is above the maximum"):
        mutate(bounded, costly, rng)


def test_what_the_space_does_not_hold_cannot_move():
    one = SPACES["per layer"]
    inside = MEMBERS["per layer"][0]
    outside = {
        "num_classes=11": Architecture(replace(SMALL["cnn3"], num_classes=11)),
        "position pre is not offered": Architecture(
            SMALL["cnn3"], ((one.traced.sites[0].name, replace(MEMBERS["per layer"][-1].sites[0][1], position="pre")),)
        ),
    }
    for reason, stranger in outside.items():
        with pytest.raises(InputError, match=reason):
            next(neighbours(one, stranger))
        with pytest.raises(InputError, match=reason):
            mutate(one, stranger, random.Random(0))
        for parents in ((inside, stranger), (stranger, inside)):
            with pytest.raises(InputError, match=reason):
                crossover(one, *parents, random.Random(0))
        with pytest.raises(InputError):
            mutate(SPACES["several backbones"], stranger, random.Random(0))
