"""Spaces under constraints against brute force: every architecture enumerated, priced and held against the bounds."""

import random
import re
from itertools import chain, combinations, product

import pytest
import torch.nn.functional as F
from architecture_strategies import SMALL, examples
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from search_space import feasible
from search_space.architecture import Architecture
from search_space.backbones import resolve
from search_space.constraints import Bounds, Constraints, quantities
from search_space.costs import Cost, cost
from search_space.errors import InputError
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import TracedBackbone, trace

QUANTITIES = ("flops", "params", "memory", "flops_overhead", "params_overhead")
SETTINGS_LIMIT = 800


class Recalling(nn.Module):
    """Its first map is added again and again: a block on one shortcut is alive together with those of earlier sites."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branches = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        first = x = self.stem(x)
        for branch in self.branches:
            x = F.relu(first + branch(x))
        return self.fc(x.mean((2, 3)))


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
        "variant": choices_of(["standard", "bump", "slow_squeeze", "eca", "cbam", "simam"], 2),
        "position": choices_of(["standard", "pre", "post", "identity"], 2),
        "ratio": choices_of([1, 2, 3, 4], 3),
        "excitation": choices_of(["sigmoid", "relu", "tanh"], 2),
        "bias": st.booleans(),
        "from_identity": st.booleans(),
    }
)


@st.composite
def small_spaces(draw, names=tuple(SMALL)) -> SearchSpace:
    """Spaces without constraints, small enough to enumerate."""
    space = space_of(trace(SMALL[draw(st.sampled_from(names))]), draw(SPECS))
    assume(space is not None and settings_number(space) <= SETTINGS_LIMIT)
    return space


def space_of(traced: TracedBackbone, choices: dict) -> SearchSpace | None:
    try:
        return SearchSpace(traced, SpaceSpec.model_validate(choices))
    except InputError:  # no site has the position, or no channels for the ratio
        return None


def settings_number(space: SearchSpace) -> int:
    number = 1
    for values in space.parameters.values():
        number *= len(values)
    return number


def everything(space: SearchSpace) -> dict[Architecture, dict[str, float]]:
    """All architectures of a space, and what bounds can be about."""
    settings = (dict(zip(space.parameters, values, strict=True)) for values in product(*space.parameters.values()))
    architectures = dict.fromkeys(space.decode(setting) for setting in settings)
    return {a: quantities(cost(space.traced, a)) for a in architectures}


def constrained(space: SearchSpace, constraints: dict) -> SearchSpace:
    return SearchSpace(space.traced, space.spec.model_copy(update={"constraints": read(constraints)}))


def read(constraints: dict) -> Constraints:
    return Constraints(**{quantity: Bounds(**bounds) for quantity, bounds in constraints.items()})


def meets(values: dict[str, float], constraints: dict) -> bool:
    return all(
        bounds.get("min", 0) <= values[quantity] <= bounds.get("max", float("inf"))
        for quantity, bounds in constraints.items()
    )


@st.composite
def bounds_near(draw, values: list[float]) -> dict:
    """Bounds at and next to values that are attained, so that gaps and ends are met as often as the middle."""

    def near():
        value, step = draw(st.sampled_from(values)), draw(st.sampled_from([-1, -0.5, 0, 0, 0.5, 1]))
        return max(0.0, value + step if value >= 2 else value * (1 + step * 1e-9))

    ends = draw(st.sampled_from([("min",), ("max",), ("min", "max")]))
    return dict(zip(ends, sorted(near() for _ in ends), strict=True))


@st.composite
def constraints_near(draw, members: dict) -> dict:
    asked = draw(st.lists(st.sampled_from(QUANTITIES), min_size=1, max_size=3, unique=True))
    return {q: draw(bounds_near(sorted({values[q] for values in members.values()}))) for q in QUANTITIES if q in asked}


@given(data=st.data())
@examples(150)
def test_what_is_sampled_meets_the_bounds_and_emptiness_is_told(data):
    space = data.draw(small_spaces())
    members = everything(space)
    constraints = data.draw(constraints_near(members))
    check(space, members, constraints)


@pytest.fixture
def recalling(registered) -> TracedBackbone:
    return recalling_backbone(registered)


@given(data=st.data())
@examples(40)
def test_the_same_where_blocks_are_alive_together(recalling, data):
    space = space_of(recalling, data.draw(SPECS))
    assume(space is not None and settings_number(space) <= SETTINGS_LIMIT)
    members = everything(space)
    constraints = data.draw(constraints_near(members))
    memory = sorted({values["memory"] for values in members.values()})
    constraints["memory"] = data.draw(bounds_near(memory))
    check(space, members, {quantity: constraints[quantity] for quantity in QUANTITIES if quantity in constraints})


def recalling_backbone(registered) -> TracedBackbone:
    traced = trace(registered(Recalling))
    assert traced.spans_overlap
    return traced


def check(space: SearchSpace, members: dict, constraints: dict) -> None:
    inside = {a for a, values in members.items() if meets(values, constraints)}
    if not inside:
        with pytest.raises(InputError) as caught:
            constrained(space, constraints)
        check_message(str(caught.value), members, constraints)
        return
    rng = random.Random(0)
    limited = constrained(space, constraints)
    assert {limited.sample(rng) for _ in range(10)} <= inside


def test_every_cost_is_found_again_where_blocks_are_alive_together(recalling):
    choices = {"insertion": [False, True], "position": ["standard", "pre", "post", "identity"]}
    per_layer = {name: {"choices": values, "per": "layer"} for name, values in choices.items()}
    space = SearchSpace(recalling, SpaceSpec.model_validate(per_layer | {"variant": "standard", "ratio": 2}))
    for flops, memory in {(v["flops"], v["memory"]) for v in everything(space).values()}:
        bounds = {"flops": {"min": flops, "max": flops}, "memory": {"min": memory, "max": memory}}
        found = cost(recalling, constrained(space, bounds).sample(random.Random(0)))
        assert (found.flops, found.memory) == (flops, memory)


NUMBER = r"([0-9.e+-]+)"
ASKED = re.compile(r"constraints\.(\w+)\.(?:min|max)")
NEAREST = [
    (re.compile(rf"the nearest(?: \w+)? are {NUMBER} below and {NUMBER} above \("), ("below", "above")),
    (re.compile(rf"the least(?: \w+)? is {NUMBER} \("), ("above",)),
    (re.compile(rf"the most(?: \w+)? is {NUMBER} \("), ("below",)),
]


def check_message(message: str, members: dict, constraints: dict) -> None:
    """It names a smallest set of constraints that conflict, and the values nearest to the first one's bounds."""
    assert len(message.splitlines()) == 1
    assert message.startswith("no architecture of the space has ")
    named = tuple(dict.fromkeys(ASKED.findall(message)))
    subsets = chain.from_iterable(combinations(constraints, size) for size in range(1, len(constraints) + 1))
    conflicts = [s for s in subsets if not any(meets(v, {q: constraints[q] for q in s}) for v in members.values())]
    assert named in [s for s in conflicts if len(s) == len(conflicts[0])]
    (first, *others) = named
    bounds = constraints[first]
    left = [v[first] for v in members.values() if meets(v, {q: constraints[q] for q in others})]
    expected = {
        "below": max((v for v in left if v < bounds.get("min", 0)), default=None),
        "above": min((v for v in left if v > bounds.get("max", float("inf"))), default=None),
    }
    found = dict.fromkeys(expected)
    for pattern, sides in NEAREST:
        if match := pattern.search(message):
            found |= dict(zip(sides, map(float, match.groups()), strict=True))
    assert found == expected


@given(data=st.data())
@examples(25)
def test_everything_that_meets_the_bounds_is_reached(data):
    space = data.draw(small_spaces(names=("resnet8", "cnn3")))
    assume(settings_number(space) <= 100)
    members = everything(space)
    constraints = data.draw(constraints_near(members))
    inside = {a for a, values in members.items() if meets(values, constraints)}
    assume(inside)
    limited, rng = constrained(space, constraints), random.Random(0)
    # the least likely is drawn once in as many draws as there are settings
    draws = 30 * settings_number(space)
    assert {limited.sample(rng) for _ in range(draws)} == inside


def test_bounds_that_everything_meets_change_no_odds():
    space = SearchSpace(trace(SMALL["resnet8"]), SpaceSpec(variant="standard", ratio=[2, 4]))
    limited = constrained(space, {"flops": {"min": 1}})
    rng = random.Random(0)
    drawn = [[s.sample(rng) for _ in range(4000)] for s in (space, limited)]
    for name, values in {"layer1.insertion": (False,), "layer3.position": ("standard", "pre")}.items():
        shares = [
            sum((s.encode(a) or {}).get(name) in values for a in d) / 4000
            for d, s in zip(drawn, (space, limited), strict=True)
        ]
        assert abs(shares[0] - shares[1]) < 0.04


# examples


def test_the_same_seed_draws_the_same_whatever_was_drawn_before():
    limited = constrained(default_space("resnet20"), {"flops": {"max": 40_600_000}, "params": {"min": 272_000}})
    first = [limited.sample(random.Random(seed)) for seed in range(20)]
    assert [limited.sample(random.Random(seed)) for seed in reversed(range(20))] == first[::-1]
    assert len(set(first)) > 10


def default_space(name: str, size=(3, 32, 32), **choices) -> SearchSpace:
    return SearchSpace(trace(resolve(name, num_classes=10, input_size=size)), SpaceSpec.model_validate(choices))


def test_a_band_that_holds_less_than_a_millionth_is_sampled_with_few_looks():
    space = default_space("resnet50", size=(3, 224, 224), ratio=[4, 8, 16, 32])
    least, most = space.cost_range.flops
    assert space.size > 1e9
    rng = random.Random(0)
    target = cost(space.traced, space.sample(rng)).flops
    band = {"flops": {"min": target, "max": target}}
    limited = constrained(space, band)
    before = limited._feasible.steps
    drawn = {limited.sample(rng) for _ in range(50)}
    assert {cost(space.traced, a).flops for a in drawn} == {target}
    assert len(drawn) > 10
    assert (most - least) > 1e7
    assert limited._feasible.steps - before < 50 * 10_000


def test_bounds_on_two_sums_that_nearly_conflict_are_met():
    space = default_space("resnet50", size=(3, 224, 224))
    constraints = {
        "flops": {"max": space.traced.flops + 11_000_000},
        "params": {"min": space.traced.params + 9_000_000},
    }
    limited, rng = constrained(space, constraints), random.Random(0)
    rates = [space.is_feasible(limited.sample(rng)) and limited.is_feasible(limited.sample(rng)) for _ in range(30)]
    assert all(rates)


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        (
            {"flops": {"max": 4_000_000_000}},
            "no architecture of the space has flops of at most 4000000000: the least is 4089184256 "
            "(constraints.flops.max)",
        ),
        (
            {"memory": {"min": 10_000_000}},
            "no architecture of the space has memory of at least 10000000: the most is {most_memory} "
            "(constraints.memory.min)",
        ),
        (
            {"params": {"min": float("inf")}},
            "no architecture of the space has params of at least inf: the most is 50706472 (constraints.params.min)",
        ),
    ],
    ids=["least", "most", "infinite"],
)
def test_an_empty_space_of_a_large_network_is_told(constraints, expected):
    space = SearchSpace(trace(resolve("resnet50", num_classes=1000, input_size=(3, 224, 224))), SpaceSpec())
    with pytest.raises(InputError) as caught:
        constrained(space, constraints)
    assert str(caught.value) == expected.format(most_memory=space.cost_range.memory[1])


def test_a_gap_between_two_values_is_told():
    space = default_space("resnet8", insertion=[False, True], variant="standard", position="post", ratio=4)
    values = sorted({v["flops_overhead"] for v in everything(space).values()})
    low, high = values[2:4]
    bounds = {"min": low + (high - low) / 3, "max": high - (high - low) / 3}
    with pytest.raises(InputError, match=f"flops_overhead of at least .* the nearest are {low} below and {high} above"):
        constrained(space, {"flops_overhead": bounds})
    # what is told can be used as it stands
    assert constrained(space, {"flops_overhead": bounds | {"min": low}}).sample(random.Random(0))


def test_what_is_not_proven_is_not_said_to_be(monkeypatch):
    monkeypatch.setattr(feasible, "MOST_PATIENCE", 100)
    monkeypatch.setattr(feasible, "FIRST_PATIENCE", 100)
    space = default_space("resnet50", size=(3, 224, 224), ratio=[4, 8, 16, 32])
    constraints = {
        "flops": {"min": space.traced.flops + 10_000_000, "max": space.traced.flops + 10_001_000},
        "params": {"min": space.traced.params + 2_500_000, "max": space.traced.params + 2_500_100},
    }
    with pytest.raises(InputError, match=r"^no architecture of the space was found that has .*found") as caught:
        constrained(space, constraints)
    assert len(str(caught.value).splitlines()) == 1


def test_too_many_sums_are_still_all_reckoned_with(monkeypatch):
    """With hardly any intervals to tell them by, sums blur; what is sampled and told may not."""
    monkeypatch.setattr(feasible, "MOST_PIECES", 1)
    monkeypatch.setattr(feasible, "LEAST_INTERVALS", 3)
    space = default_space("resnet20", variant="standard", position=["standard", "pre"], ratio=4)
    space = constrained(space, {})
    members = everything(space)
    sums = sorted({v["flops"] for v in members.values()})
    assert len(sums) > 3
    for value in sums:
        check(space, members, {"flops": {"min": value, "max": value}})
        check(space, members, {"flops": {"min": value + 0.25, "max": value + 0.5}})


@given(
    st.dictionaries(st.sampled_from(QUANTITIES), st.tuples(*[st.none() | st.floats(0, 2)] * 2), min_size=1),
    st.sampled_from(["cnn3", "resnet8"]),
)
def test_excesses_are_above_zero_exactly_where_a_bound_is_broken(bounds, name):
    """Bounds are given as multiples of what the cost is, so that some are broken, some met, and some met exactly."""
    price = cost(trace(SMALL[name]), Architecture(trace(SMALL[name]).backbone))
    actual = quantities(price)
    given = {
        quantity: dict(zip(("min", "max"), sorted_bounds(low, high, actual[quantity]), strict=True))
        for quantity, (low, high) in bounds.items()
    }
    constraints = Constraints.model_validate(given)
    excesses = constraints.excesses(price)
    assert excesses.keys() == {f"{q} {end}" for q in given for end in ("min", "max") if given[q][end] is not None}
    assert sum(excess > 0 for excess in excesses.values()) == len(list(constraints.violations(price)))


def sorted_bounds(low, high, value):
    """A least and a most around or beside a value; equal to it, or None, where they are no multiples."""
    scaled = [None if factor is None else factor * (value or 1.0) for factor in (low, high)]
    return scaled if None in scaled else sorted(scaled)


@pytest.mark.parametrize(
    ("bounds", "excess"),
    [({"max": 100.0}, 0.1), ({"max": 220.0}, -0.5), ({"min": 220.0}, 0.5), ({"min": 100.0}, -0.1), ({"max": 0}, 1)],
)
def test_an_excess_is_a_fraction_of_the_bound(bounds, excess):
    bound = Constraints.model_validate({"flops": {key: float(value) for key, value in bounds.items()}})
    price = Cost(flops=110, params=10, memory=10, se_flops=0, se_params=0)
    assert list(bound.excesses(price).values()) == pytest.approx([excess])
