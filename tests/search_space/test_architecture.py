"""Equal networks are one architecture; different networks are different ones."""

import json
import os
import pickle
import random
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
from architecture_strategies import SMALL, architectures, blocks, examples
from hypothesis import given
from hypothesis import strategies as st
from se_block import se_block

from search_space.architecture import EXCITATIONS, POSITIONS, SE, SQUEEZES, Architecture, Backbone
from search_space.building import build, build_without_weights, check
from search_space.costs import block_price, cost
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.widths import hidden_widths

BACKBONE = SMALL["resnet20"]
RESNET8 = SMALL["resnet8"]
ON_RESNET20 = architectures(trace(BACKBONE))
SITE_NAMES = st.text("abz._", min_size=1, max_size=6) | st.sampled_from(
    ["layer1.0", "layer1.2", "layer1.10", "add", "add_1", "1", "on", "null", "1e3", "~", "2024-01-01", "a: b"]
)
ANY = st.builds(
    Architecture,
    backbone=st.builds(
        Backbone,
        name=st.sampled_from(["resnet20", "null", "1", "x y"]),
        num_classes=st.integers(1, 1000),
        input_size=st.tuples(*[st.integers(1, 512)] * 3),
        options=st.dictionaries(
            st.sampled_from(["width", "second_conv", "norm", "rate"]),
            st.integers(1, 64) | st.booleans() | st.sampled_from(["yes", "bn", ""]) | st.floats(-9, 9),
        ).map(lambda options: tuple(sorted(options.items()))),
    ),
    sites=st.dictionaries(SITE_NAMES, blocks(), max_size=5).map(lambda sites: tuple(sites.items())),
)


@given(ANY)
@examples(60)
def test_round_trips_keep_everything(architecture):
    for again in (
        Architecture.from_dict(architecture.to_dict()),
        Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))),
        Architecture.from_yaml(architecture.to_yaml()),
    ):
        assert again == architecture
        assert again.id == architecture.id
        assert again.to_dict() == architecture.to_dict()
        assert again.to_yaml() == architecture.to_yaml()
        assert hash(again) == hash(architecture)


@given(ON_RESNET20, st.randoms(use_true_random=False))
@examples(40)
def test_the_order_of_sites_does_not_matter(architecture, rng):
    shuffled = list(architecture.sites)
    rng.shuffle(shuffled)
    again = Architecture(architecture.backbone, tuple(shuffled))
    assert again == architecture
    assert again.sites == architecture.sites
    assert again.id == architecture.id


def test_sites_are_in_the_order_of_the_network():
    names = [site.name for site in trace(BACKBONE).sites] + ["layer3.10", "layer10.0"]
    shuffled = random.Random(0).sample(names, len(names))
    assert shuffled != names
    architecture = Architecture(BACKBONE, tuple((name, se_block("pre", (2,))) for name in shuffled))
    assert [name for name, _ in architecture.sites] == names
    assert list(architecture.se) == names


def test_ratios_that_give_one_width_make_one_architecture():
    at = {r: one_site(se_block("standard", hidden_widths("standard", 16, r))) for r in (9, 12, 16, 32, 1000)}
    assert at[9] == at[12] == at[16] == at[32] == at[1000]
    assert len({a.id for a in at.values()}) == 1


def test_variants_that_give_the_same_widths_make_one_architecture():
    slow, excite, bump = (
        one_site(se_block("post", hidden_widths(v, 8, 1))) for v in ("slow_squeeze", "slow_excite", "bump")
    )
    assert slow == excite == bump
    assert slow.id == excite.id == bump.id


@given(st.lists(ON_RESNET20, min_size=2, max_size=8))
@examples(40)
def test_ids_are_equal_exactly_where_architectures_are(drawn):
    for a in drawn:
        for b in drawn:
            assert (a.id == b.id) == (a == b)


def test_every_single_change_makes_another_architecture():
    se = se_block("standard", (4, 2), "avg", "sigmoid", False)
    changed = [
        se,
        *(replace(se, position=p) for p in POSITIONS[1:]),
        *(with_setting(se, squeeze=s) for s in SQUEEZES[1:]),
        *(with_setting(se, excitation=e) for e in EXCITATIONS[1:]),
        with_setting(se, bias=True),
        replace(se, from_identity=True),
        *(replace(se, kind=kind) for kind in ("no_squeeze", "my_module:Block")),
        replace(se, settings=()),
        *(with_setting(se, hidden=hidden) for hidden in [(2, 4), (4,), (2,), (42,), (4, 2, 4), (4, 3)]),
    ]
    everything = [
        Architecture(BACKBONE),
        *(one_site(variation) for variation in changed),
        Architecture(BACKBONE, (("layer1.1", se),)),
        Architecture(BACKBONE, (("layer1.0", se), ("layer1.1", se))),
        Architecture(replace(BACKBONE, num_classes=8), (("layer1.0", se),)),
        Architecture(replace(BACKBONE, input_size=(3, 12, 12)), (("layer1.0", se),)),
        Architecture(replace(BACKBONE, name="resnet32"), (("layer1.0", se),)),
        Architecture(replace(BACKBONE, options=(("width", 5),)), (("layer1.0", se),)),
    ]
    assert len(set(everything)) == len({a.id for a in everything}) == len(everything)


def with_setting(se: SE, **settings: object) -> SE:
    return replace(se, settings=tuple({**dict(se.settings), **settings}.items()))


@given(st.randoms(use_true_random=False))
@examples(10)
def test_the_order_of_settings_does_not_matter(rng):
    se = se_block("standard", (4, 2))
    shuffled = list(se.settings)
    rng.shuffle(shuffled)
    again = replace(se, settings=tuple(shuffled))
    assert again == se
    assert hash(again) == hash(se)
    assert one_site(again).id == one_site(se).id


@given(blocks())
@examples(20)
def test_blocks_can_be_sent_to_another_process(se):
    again = pickle.loads(pickle.dumps(se))
    assert again == se
    assert hash(again) == hash(se)


@given(ON_RESNET20)
@examples(20)
def test_ids_are_twelve_hexadecimal_digits(architecture):
    assert len(architecture.id) == 12
    int(architecture.id, 16)


IN_ANOTHER_PROCESS = """
import sys
from search_space import Architecture
assert "torch" not in sys.modules and "ray" not in sys.modules
print(Architecture.from_yaml(sys.stdin.read()).id)
"""


def test_ids_are_the_same_in_every_process_and_need_no_torch():
    architecture = Architecture(
        BACKBONE, (("layer3.1", se_block("pre", (3, 3), "max")), ("layer1.0", se_block("post", (1,))))
    )
    ids = {
        subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS],
            input=architecture.to_yaml(),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert ids == {architecture.id}


def one_site(se: SE) -> Architecture:
    return Architecture(BACKBONE, (("layer1.0", se),))


# errors

PLAIN = {"name": "resnet8", "num_classes": 10, "input_size": [1, 8, 8], "options": {"width": 4}}
BLOCK = {
    "position": "pre",
    "kind": "se",
    "hidden": [2],
    "squeeze": "avg",
    "excitation": "sigmoid",
    "bias": False,
    "from_identity": False,
}


def without(data: dict, key: str) -> dict:
    return {k: v for k, v in data.items() if k != key}


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        pytest.param(None, ["an architecture must be a mapping", "None"], id="nothing"),
        pytest.param([PLAIN], ["an architecture must be a mapping"], id="list"),
        pytest.param({}, ["architecture lacks the key 'backbone'"], id="empty"),
        pytest.param({"backbone": PLAIN, "site": {}}, ["'site'", "did you mean 'sites'"], id="key"),
        pytest.param({"backbone": "resnet8"}, ["backbone must be a mapping", "'resnet8'"], id="backbone"),
        pytest.param(
            {"backbone": without(PLAIN, "num_classes")}, ["backbone lacks the key 'num_classes'"], id="classes missing"
        ),
        pytest.param({"backbone": without(PLAIN, "name")}, ["backbone lacks the key 'name'"], id="name missing"),
        pytest.param(
            {"backbone": PLAIN | {"option": {}}},
            ["key of backbone 'option'", "did you mean 'options'"],
            id="backbone key",
        ),
        pytest.param({"backbone": PLAIN | {"options": [4]}}, ["backbone.options must be a mapping"], id="options"),
        *(
            pytest.param({"backbone": PLAIN | {"num_classes": n}}, ["num_classes must be", repr(n)], id=f"classes {n}")
            for n in (0, -1, True, "10", 1.0, None)
        ),
        *(
            pytest.param({"backbone": PLAIN | {"input_size": s}}, ["input_size must be", repr(s)], id=f"size {s}")
            for s in ([8, 8], [1, 8, 8, 8], [1, 0, 8], [1, -8, 8], [1, 8.0, 8], [True, 8, 8], "188", 8, None)
        ),
        pytest.param({"backbone": PLAIN, "sites": ["layer1.0"]}, ["sites must be a mapping", "layer1.0"], id="sites"),
        pytest.param(
            {"backbone": PLAIN, "sites": {"layer1.0": "pre"}}, ["sites.layer1.0 must be a mapping", "'pre'"], id="site"
        ),
    ],
)
def test_what_is_not_an_architecture_is_refused_in_one_line(data, parts):
    check_refused(data, *parts)


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        pytest.param(without(BLOCK, "position"), ["sites.layer1.0 lacks the key 'position'"], id="position missing"),
        pytest.param(without(BLOCK, "kind"), ["sites.layer1.0 lacks the key 'kind'"], id="kind missing"),
        pytest.param(BLOCK | {"position": "psot"}, ["position of site layer1.0 'psot'", "'post'"], id="position"),
        pytest.param(BLOCK | {"position": ["pre"]}, ["position of site layer1.0"], id="position list"),
        *(
            pytest.param(BLOCK | {"kind": k}, ["sites.layer1.0.kind must be a text", repr(k)], id=f"kind {k}")
            for k in (1, None, True, ["se"])
        ),
        *(
            pytest.param(BLOCK | {"hidden": h}, ["sites.layer1.0.hidden must be", repr(h)], id=f"hidden {h}")
            for h in ([True], [2.0], ["2"], [[2]], {"first": 2}, None)
        ),
        *(
            pytest.param(
                BLOCK | {"from_identity": b}, ["sites.layer1.0.from_identity must be true or false", repr(b)], id=str(b)
            )
            for b in (1, 0, "yes", None)
        ),
    ],
)
def test_what_is_not_a_block_is_refused_in_one_line(block, parts):
    check_refused({"backbone": PLAIN, "sites": {"layer1.0": block}}, *parts)


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        *(
            pytest.param(without(BLOCK, key), [f"the setting '{key}' is missing"], id=f"{key} missing")
            for key in ("hidden", "squeeze", "excitation", "bias")
        ),
        pytest.param(BLOCK | {"ratio": 4}, ["unknown setting 'ratio'", "hidden"], id="ratio"),
        pytest.param(BLOCK | {"squeese": "max"}, ["'squeese'", "did you mean 'squeeze'"], id="key"),
        pytest.param(BLOCK | {"kind": "es"}, ["kind of SE block 'es'", "did you mean 'se'"], id="kind"),
        pytest.param(BLOCK | {"squeeze": "maks"}, ["squeeze: must be 'avg' or 'max'", "'maks'"], id="squeeze"),
        pytest.param(BLOCK | {"excitation": "tahn"}, ["excitation: must be", "'tanh'"], id="excitation"),
        *(
            pytest.param(BLOCK | {"hidden": h}, ["hidden: ", repr(h)], id=f"hidden {h}")
            for h in ([], [0], [-1], [2, 0], 2, "2")
        ),
        *(pytest.param(BLOCK | {"bias": b}, ["bias: must be", repr(b)], id=f"bias {b}") for b in (1, 0, "yes")),
        pytest.param({"position": "pre", "kind": "simam", "bias": True}, ["'bias'", "has none"], id="no settings"),
    ],
)
def test_settings_that_a_kind_does_not_take_are_refused_in_one_line(block, parts):
    architecture = Architecture.from_dict({"backbone": PLAIN, "sites": {"layer1.0": block}})
    block_price.cache_clear()
    trace(RESNET8).prices.clear()  # a bias of 0 is as good as none there
    for refuse in (build, build_without_weights, partial(check, trace(RESNET8)), partial(cost, trace(RESNET8))):
        with pytest.raises(InputError) as caught:
            refuse(architecture)
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        for part in ("layer1.0", *parts):
            assert part in message


def check_refused(data: object, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        Architecture.from_dict(data)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message


@pytest.mark.parametrize("text", ["sites: [", "a: b: c", "\t- x", "!!python/object:os.system {}", "{\n\n"])
def test_what_is_not_yaml_is_refused_in_one_line(text):
    with pytest.raises(InputError, match="not valid YAML") as caught:
        Architecture.from_yaml(text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "resnet8", "- 1\n- 2\n", "12"])
def test_yaml_that_is_no_mapping_is_refused(text):
    with pytest.raises(InputError, match="an architecture must be a mapping"):
        Architecture.from_yaml(text)


def test_a_site_repeated_in_a_text_is_refused_with_both_lines():
    repeated = Architecture(BACKBONE, (("layer1.0", se_block("pre", (2,))),)).to_yaml()
    site = next(line for line in repeated.splitlines() if "layer1.0" in line)
    with pytest.raises(InputError, match=r"the key 'layer1\.0' on line \d is repeated: it is also on line \d"):
        Architecture.from_yaml(f"{repeated.rstrip()}\n{site}\n")


def test_a_site_listed_twice_is_refused():
    with pytest.raises(InputError, match=r"layer1\.0"):
        Architecture(BACKBONE, (("layer1.0", se_block("pre", (2,))), ("layer1.0", se_block("post", (2,)))))
