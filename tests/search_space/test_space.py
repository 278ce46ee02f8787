"""The search space against brute force: every setting of every parameter, enumerated and made unique."""

import math
import random
from dataclasses import dataclass, field
from itertools import pairwise, product

import pytest
from architecture_strategies import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError
from se_block import se_block

from search_space.architecture import Architecture, Backbone
from search_space.backbones import resolve
from search_space.costs import block_price, cost
from search_space.errors import InputError
from search_space.site import Site
from search_space.space import SearchSpace
from search_space.spans import Span
from search_space.spec import DIMENSIONS, SpaceSpec
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options

BACKBONE = Backbone("some_net", 10, (3, 32, 32))
SETTINGS_LIMIT = 3000


@dataclass
class Traced:
    """What a space needs to know of a traced backbone; nothing is traced here."""

    sites: tuple[Site, ...]
    flops: int = 1000
    params: int = 100
    memory: int = 700
    backbone: Backbone = field(default=BACKBONE)
    spans_overlap: bool = False
    prices: dict = field(default_factory=dict)

    def site(self, name: str) -> Site:
        return {site.name: site for site in self.sites}[name]

    def span(self, name: str, position: str) -> Span:
        """Each site comes when as much is alive as its map is wide and high."""
        channels, height, width = self.site(name).shapes[position]
        before = 4 * channels * height * width + 8 * self.sites.index(self.site(name))
        return Span(start=0, before=before, end=0, meanwhile=0, output=before)

    def may_overlap(self, architecture):
        return self.spans_overlap

    def memory_of(self, architecture):
        raise AssertionError("no spans of these sites overlap")


# written anew, so that a mistake in search_space is not repeated here

STEPS = {
    "standard": lambda c, r: (max(1, c // r),),
    "bump": lambda c, r: (max(1, c // r),) * 2,
    "slow_squeeze": lambda c, r: (double(c, r), max(1, c // r)),
    "slow_excite": lambda c, r: (max(1, c // r), double(c, r)),
    "slow_both": lambda c, r: (double(c, r), max(1, c // r), double(c, r)),
}


def double(channels: int, ratio: int) -> int:
    return max(1, channels // (ratio // 2)) if ratio > 1 else channels


@dataclass
class BruteForce:
    """Every network of a space by the settings of its parameters, or None where there is none."""

    traced: Traced
    spec: SpaceSpec

    def scope(self, dimension: str, site: Site) -> tuple[Site, ...]:
        per = getattr(self.spec, dimension).per
        return {
            "network": self.traced.sites,
            "stage": tuple(s for s in self.traced.sites if s.stage == site.stage),
            "layer": (site,),
        }[per]

    def name(self, dimension: str, site: Site) -> str:
        per = getattr(self.spec, dimension).per
        return {"network": "", "stage": f"{site.stage_name}.", "layer": f"{site.name}."}[per] + dimension

    def parameters(self) -> dict[str, list]:
        choices = {}
        for site in self.traced.sites:
            for dimension in DIMENSIONS:
                values = list(getattr(self.spec, dimension).choices)
                if dimension == "position" and any(self.spec.insertion.choices):
                    values = self.positions(values, self.scope(dimension, site))
                choices[self.name(dimension, site)] = values
        return choices

    def positions(self, values: list, scope: tuple[Site, ...]) -> list:
        """Residual sites need what is chosen; the others of such a network stand at standard where they lack it."""
        if any("identity" in s.shapes for s in scope):
            return [p for p in values if all(p in s.shapes for s in scope if "identity" in s.shapes)]
        if scope and any("identity" in s.shapes for s in self.traced.sites):
            return [p for p in values if any(p in s.shapes for s in scope)] or ["standard"]
        return [p for p in values if all(p in s.shapes for s in scope)]

    def taken(self, position: str, site: Site) -> str:
        stands_elsewhere = "identity" not in site.shapes and any("identity" in s.shapes for s in self.traced.sites)
        return "standard" if stands_elsewhere and position not in site.shapes else position

    def settings(self) -> list[dict]:
        parameters = self.parameters()
        return [dict(zip(parameters, values, strict=True)) for values in product(*parameters.values())]

    def architecture(self, setting: dict) -> Architecture:
        chosen = []
        for site in self.traced.sites:
            value = {d: setting[self.name(d, site)] for d in DIMENSIONS}
            if value["insertion"]:
                position = self.taken(value["position"], site)
                hidden = STEPS[value["variant"]](site.shapes[position][0], value["ratio"])
                block = se_block(position, hidden, value["squeeze"], value["excitation"], self.spec.bias)
                chosen.append((site.name, block))
        return Architecture(self.traced.backbone, tuple(chosen))

    def matters(self, setting: dict) -> set[str]:
        """The parameters with a choice that some site's block depends on."""
        asked = set()
        for site in self.traced.sites:
            insertion = self.name("insertion", site)
            asked.add(insertion)
            if setting[insertion]:
                asked |= {self.name(d, site) for d in DIMENSIONS}
        return {name for name in asked if len(self.parameters()[name]) > 1}


def price(architecture: Architecture, traced: Traced) -> tuple[int, int, int]:
    flops, params, memory = traced.flops, traced.params, traced.memory
    for name, se in architecture.sites:
        channels, height, width = traced.site(name).shapes[se.position]
        widths = [channels, *se.hidden, channels]
        weights = sum(a * b for a, b in pairwise(widths))
        flops += weights + 2 * channels * height * width
        params += weights + (sum(widths[1:]) if dict(se.settings)["bias"] else 0)
        inside = block_price(se, (channels, height, width)).memory
        memory = max(memory, traced.span(name, se.position).before + inside)
    return flops, params, memory


@st.composite
def traced_backbones(draw) -> Traced:
    sites = []
    stages = draw(st.lists(st.integers(1, 2), min_size=1, max_size=3))
    for stage, number in enumerate(stages, start=1):
        for i in range(number):
            positions = draw(
                st.sampled_from([("standard", "pre", "post", "identity"), ("standard", "pre"), ("standard",)])
            )
            channels = {p: draw(st.sampled_from([4, 6, 16])) if p == "pre" else 16 for p in positions}
            side = draw(st.integers(1, 4))
            shapes = {p: (channels[p], side, side + 1) for p in positions}
            sites.append(Site(f"block{stage}.{i}", stage, f"block{stage}", shapes))
    return Traced(tuple(sites))


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
        "variant": choices_of(sorted(STEPS), 3),
        "position": choices_of(["standard", "pre", "post", "identity"], 3),
        "ratio": choices_of([1, 2, 3, 4, 8, 16], 3),
        "squeeze": choices_of(["avg", "max"], 2),
        "excitation": choices_of(["sigmoid", "relu", "tanh"], 2),
        "bias": st.booleans(),
    }
).map(SpaceSpec.model_validate)


def too_wide(traced: Traced, spec: SpaceSpec) -> bool:
    """Whether a ratio is wider than what there is to scale anywhere."""
    channels = [s.shapes[p][0] for s in traced.sites for p in s.shapes if p in spec.position.choices]
    return max(spec.ratio.choices) > max(channels, default=math.inf)


@st.composite
def small_spaces(draw) -> tuple[SearchSpace, BruteForce]:
    traced, spec = draw(traced_backbones()), draw(SPECS)
    brute = BruteForce(traced, spec)
    number = 1
    for values in brute.parameters().values():
        number *= len(values)
    assume(0 < number <= SETTINGS_LIMIT and not too_wide(traced, spec))
    return SearchSpace(traced, spec), brute


@given(small_spaces())
@examples(90)
def test_size_is_the_number_of_distinct_architectures(spaces):
    space, brute = spaces
    assert space.size == len({brute.architecture(s) for s in brute.settings()})


@given(small_spaces())
@examples(60)
def test_cost_range_is_the_least_and_the_most(spaces):
    space, brute = spaces
    prices = {price(brute.architecture(s), space.traced) for s in brute.settings()}
    flops, params, memory = zip(*prices, strict=True)
    assert space.cost_range.flops == (min(flops), max(flops))
    assert space.cost_range.params == (min(params), max(params))
    assert space.cost_range.memory == (min(memory), max(memory))


@given(small_spaces())
@examples(40)
def test_every_setting_decodes_and_what_it_makes_encodes(spaces):
    space, brute = spaces
    every = brute.settings()
    for setting in random.Random(0).sample(every, min(len(every), 60)):
        architecture = brute.architecture(setting)
        assert space.decode(setting) == architecture
        assert architecture in space
        encoded = space.encode(architecture)
        assert space.decode(encoded) == architecture
        assert set(encoded) <= set(space.parameters)
        priced = cost(space.traced, architecture)
        assert (priced.flops, priced.params, priced.memory) == price(architecture, space.traced)


@given(small_spaces(), st.randoms(use_true_random=False))
@examples(40)
def test_membership_is_being_made_by_some_setting(spaces, rng):
    space, brute = spaces
    members = {brute.architecture(s) for s in brute.settings()}
    strangers = [
        mutated(random.Random(rng.random()).choice(sorted(members, key=lambda a: a.id)), rng, space.traced)
        for _ in range(8)
    ]
    for stranger in strangers:
        assert (stranger in space) == (stranger in members)


def mutated(architecture: Architecture, rng: random.Random, traced: Traced) -> Architecture:
    """The architecture with one site's block taken away, changed, or brought in from elsewhere."""
    blocks = dict(architecture.sites)
    site = rng.choice(traced.sites)
    position = rng.choice(sorted(site.shapes))
    made = se_block(
        position,
        STEPS[rng.choice(sorted(STEPS))](site.shapes[position][0], rng.choice([1, 2, 3, 4, 8, 16])),
        rng.choice(["avg", "max"]),
        rng.choice(["sigmoid", "relu", "tanh"]),
        rng.random() < 0.5,
    )
    change = rng.choice(["remove", "replace", "copy"])
    if change == "remove":
        blocks.pop(site.name, None)
    elif change == "replace" or not blocks:
        blocks[site.name] = made
    else:
        source = blocks[rng.choice(sorted(blocks))]
        if source.position in site.shapes:
            blocks[site.name] = source
    return Architecture(architecture.backbone, tuple(blocks.items()))


@dataclass
class Recording:
    """Answers from a setting and remembers what was asked."""

    setting: dict
    asked: dict = field(default_factory=dict)

    def suggest_categorical(self, name, choices):
        assert name not in self.asked
        self.asked[name] = list(choices)
        return self.setting[name]


@given(small_spaces())
@examples(60)
def test_only_parameters_that_matter_are_asked_and_once(spaces):
    space, brute = spaces
    assert space.parameters == {n: tuple(v) for n, v in brute.parameters().items() if len(v) > 1}
    every = brute.settings()
    for setting in random.Random(1).sample(every, min(len(every), 25)):
        recording = Recording(setting)
        assert space.suggest(recording) == brute.architecture(setting)
        assert set(recording.asked) == brute.matters(setting)
        assert all(recording.asked[name] == brute.parameters()[name] for name in recording.asked)
        # and what was asked is enough to decode
        assert space.decode({name: setting[name] for name in recording.asked}) == brute.architecture(setting)


@given(small_spaces(), st.integers(0, 2**32))
@examples(40)
def test_sampling_is_reproducible_and_stays_inside(spaces, seed):
    space, brute = spaces
    members = {brute.architecture(s) for s in brute.settings()}
    drawn = [[space.sample(rng) for _ in range(5)] for rng in (random.Random(seed), random.Random(seed))]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) <= members


def test_sampling_reaches_everything():
    space = SearchSpace(two_stages(), spec(ratio=[2, 4], position=["standard", "post"]))
    rng = random.Random(0)
    assert space.size == len({space.sample(rng) for _ in range(2000)})


@given(traced_backbones(), SPECS)
@examples(60)
def test_a_space_is_refused_exactly_where_a_scope_has_no_common_position_or_no_channels_for_a_ratio(traced, spec):
    empty = any(not values for values in BruteForce(traced, spec).parameters().values())
    if not empty and not too_wide(traced, spec):
        SearchSpace(traced, spec)
        return
    reason = r"the space is empty: position .* is not to be had at site block" if empty else r"ratio \d+ is wider than"
    with pytest.raises(InputError, match=reason) as caught:
        SearchSpace(traced, spec)
    assert len(str(caught.value).splitlines()) == 1


# examples


def two_stages() -> Traced:
    positions = ("standard", "pre", "post", "identity")
    return Traced(
        tuple(
            Site(f"layer{stage}.{i}", stage, f"layer{stage}", dict.fromkeys(positions, (8 * stage, 8 // stage, 4)))
            for stage in (1, 2)
            for i in (0, 1)
        )
    )


def spec(**dimensions) -> SpaceSpec:
    return SpaceSpec.model_validate({"variant": "standard", "position": "standard", "ratio": 4} | dimensions)


def test_sizes_that_can_be_reckoned():
    traced = two_stages()
    per_layer = {"choices": [False, True], "per": "layer"}
    per_network = {"choices": [False, True], "per": "network"}
    assert SearchSpace(traced, spec(insertion=False)).size == 1
    assert SearchSpace(traced, spec(insertion=True)).size == 1
    assert SearchSpace(traced, spec(insertion=per_network)).size == 2
    assert SearchSpace(traced, spec()).size == 4
    assert SearchSpace(traced, spec(insertion=per_layer)).size == 2**4
    # none, or one of two ratios at each of two layers: (1 + 2 * 2) per stage
    assert SearchSpace(traced, spec(ratio=[2, 4])).size == 5**2
    # at 8 channels the ratios 8 and 16 are one width, at 16 they are two: (1 + 1) * (1 + 2 * 2)
    assert SearchSpace(traced, spec(ratio=[8, 16])).size == 2 * 5
    # one ratio for the network; without SE there is no ratio: 1 + 2 * 3
    assert SearchSpace(traced, spec(ratio={"choices": [2, 4], "per": "network"})).size == 1 + 2 * 3
    # at r = 1 the two-layer variants are one network
    variants = ["slow_squeeze", "slow_excite", "bump"]
    assert SearchSpace(traced, spec(variant=variants, ratio=1, insertion=True)).size == 1


def test_parameters_are_named_after_where_they_hold():
    assert SearchSpace(two_stages(), spec(variant=["standard", "bump"], ratio=[2, 4])).parameters == {
        "layer1.insertion": (False, True),
        "variant": ("standard", "bump"),
        "layer1.0.ratio": (2, 4),
        "layer1.1.ratio": (2, 4),
        "layer2.insertion": (False, True),
        "layer2.0.ratio": (2, 4),
        "layer2.1.ratio": (2, 4),
    }


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        ({}, ["layer1.insertion is missing", "False, True"]),
        ({"layer1.insertion": True, "layer2.insertion": False}, ["layer1.0.ratio is missing", "2, 4"]),
        ({"layer1.insertion": "yes"}, ["layer1.insertion is 'yes'", "False, True"]),
        (
            {"layer1.insertion": False, "layer2.insertion": True, "layer2.0.ratio": 3},
            ["layer2.0.ratio is 3", "[2, 4]"],
        ),
    ],
    ids=str,
)
def test_parameters_that_do_not_decode_are_refused(parameters, parts):
    with pytest.raises(InputError) as caught:
        SearchSpace(two_stages(), spec(ratio=[2, 4])).decode(parameters)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message


def test_architectures_of_other_backbones_and_sites_are_outside():
    space = SearchSpace(two_stages(), spec())
    other = Backbone("some_net", 11, (3, 32, 32))
    assert Architecture(BACKBONE) in space
    assert Architecture(other) not in space
    assert Architecture(BACKBONE, (("layer9.0", se_block("standard", (2,))),)) not in space


# the specification


def test_short_forms_take_the_usual_granularity():
    short = spec(ratio=[2, 4], position="post", insertion={"choices": [True]})
    assert (short.ratio.choices, short.ratio.per) == ((2, 4), "layer")
    assert (short.position.choices, short.position.per) == (("post",), "stage")
    assert (short.insertion.choices, short.insertion.per) == ((True,), "stage")
    assert spec(ratio=[2, 4, 2]).ratio.choices == (2, 4)


@pytest.mark.parametrize(
    ("key", "value", "culprit"),
    [
        ("ratio", [4, 0], "ratio.choices.1"),
        ("ratio", [-2], "ratio.choices.0"),
        ("ratio", [4.0], "ratio.choices.0"),
        ("ratio", ["4"], "ratio.choices.0"),
        ("ratio", [True], "ratio.choices.0"),
        ("ratio", [], "ratio.choices"),
        ("ratio", {"choices": [4], "per": "block"}, "ratio.per"),
        ("ratio", {"choices": [4], "each": "layer"}, "ratio.each"),
        ("ratio", {"per": "layer"}, "ratio.choices"),
        ("insertion", [0, 1], "insertion.choices.0"),
        ("insertion", "yes", "insertion.choices.0"),
        ("variant", "bmup", "variant.choices.0"),
        ("position", ["standard", "psot"], "position.choices.1"),
        ("squeeze", "median", "squeeze.choices.0"),
        ("excitation", "softmax", "excitation.choices.0"),
        ("bias", 1, "bias"),
        ("reduction", 4, "reduction"),
    ],
    ids=str,
)
def test_a_wrong_specification_names_its_key(key, value, culprit):
    with pytest.raises(ValidationError) as caught:
        SpaceSpec.model_validate({key: value})
    assert culprit in {".".join(map(str, error["loc"])) for error in caught.value.errors()}


def test_an_unknown_variant_is_suggested_the_nearest():
    with pytest.raises(ValidationError, match="did you mean 'bump'"):
        SpaceSpec.model_validate({"variant": "bmup"})


def test_an_architecture_outside_a_large_space_is_told_at_once():
    traced = trace(resolve("resnet110", num_classes=10, input_size=(3, 32, 32)))
    space = SearchSpace(traced, SpaceSpec(variant="standard", position="standard", insertion=True, ratio=[8, 16, 32]))
    inside = uniform(traced, options=Options(ratio=16))
    (*others, (last, _)) = inside.sites
    assert inside in space
    assert Architecture(inside.backbone, (*others, (last, se_block("standard", (7,))))) not in space


@pytest.mark.parametrize("parameters", [{"ratio": 4.0}, {"ratio": True}, {"ratio": 3}, {"ratio": 4, "ratoi": 4}])
def test_parameters_of_another_type_value_or_name_are_refused(parameters):
    spec = SpaceSpec(
        variant="standard", position="standard", insertion=True, ratio={"choices": [1, 4], "per": "network"}
    )
    space = SearchSpace(trace(resolve("resnet8", num_classes=10, input_size=(1, 8, 8))), spec)
    assert space.decode({"ratio": 4}) in space
    with pytest.raises(InputError, match=r"rat"):
        space.decode(parameters)
