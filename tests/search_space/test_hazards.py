"""What would make a wrong network or a wrong figure if it were not refused or followed closely."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from architecture_strategies import SMALL
from torch import nn

from search_space.architecture import Architecture
from search_space.backbones import instantiate, resolve
from search_space.building import build
from search_space.costs import block_price, cost
from search_space.errors import InputError
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options, block, family

OWN = """
import sys
import torch
from torch import nn


class InPlace(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        x *= torch.sigmoid(x.mean((2, 3), keepdim=True))
        return x


class Counted(nn.Module):
    def __init__(self, in_channels, num_classes, extra: int = 0):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
        self.fc = nn.Linear(4, num_classes + extra)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


class Unresolvable(nn.Module):
    def __init__(self, channels, ratio: "NowhereToBeFound" = 4):
        super().__init__()

    def forward(self, x):
        return x * 1.0
"""


class Net(nn.Module):
    """From images of three channels to four logits, its body given."""

    def __init__(self, body):
        super().__init__()
        self.stem, self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 4)
        self.body = body

    def forward(self, x):
        return self.fc(self.body(self, self.stem(x)).mean((2, 3)))


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_things.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return "own_things"


def test_a_block_that_changes_its_input_in_place_is_refused(own):
    with pytest.raises(InputError, match=r"site layer1\.0: it changes its input in place"):
        cost(trace(SMALL["resnet8"]), uniform(trace(SMALL["resnet8"]), variant=f"{own}:InPlace"))


IN_PLACE = {
    "F.relu_": lambda net, x: net.conv(F.relu_(x)) + x,
    "torch.relu_": lambda net, x: net.conv(torch.relu_(x)) + x,
    "a view": lambda net, x: net.conv(F.relu(x.view(1, 4, 8, 8), inplace=True)) + x,
    "a method": lambda net, x: net.conv(x.mul_(2)) + x,
    "an operator": lambda net, x: net.conv(torch.relu(_scaled_in_place(x))) + x,
}


def _scaled_in_place(x):
    y = x
    y *= 2
    return y


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_map_that_is_changed_in_place_and_used_again_is_refused(registered, name):
    with pytest.raises(InputError, match="changes a map in place"):
        trace(registered(lambda: Net(IN_PLACE[name])))


def test_a_map_that_is_changed_in_place_and_used_nowhere_else_is_not(registered):
    traced = trace(registered(lambda: Net(lambda net, x: F.relu_(net.conv(x)) + x)))
    assert len(traced.sites) == 1


def test_maps_with_their_channels_last_are_refused(registered):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.mix, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 4), nn.Linear(4, 4)
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.stem(x).permute(0, 2, 3, 1)
            branch = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return self.fc((x + branch).mean((1, 2)))

    with pytest.raises(InputError, match="channels last"):
        trace(registered(Last))


def test_what_nothing_uses_is_not_alive(registered):
    def with_unused(net, x):
        torch.relu(x)
        return torch.relu(net.conv(x))

    def alone(net, x):
        return torch.relu(net.conv(x))

    memories = [trace(registered(lambda body=body: Net(body))).memory for body in (with_unused, alone)]
    assert memories == [2 * 4 * 4 * 8 * 8] * 2


def test_stages_whose_names_are_numbers_are_named_otherwise(registered):
    class Numbered(nn.Sequential):
        def __init__(self):
            super().__init__(
                nn.Conv2d(3, 4, 1), Residual(4), nn.MaxPool2d(2), Residual(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )

    traced = trace(registered(Numbered))
    assert [site.stage_name for site in traced.sites] == ["stage1", "stage2"]


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())

    def forward(self, x):
        return x + self.body(x)


def test_a_stage_that_is_named_twice_is_refused():
    spec = SpaceSpec.model_validate({"ratio": {"choices": [2], "per": "layer", "at": {1: [4], "layer1": [2]}}})
    with pytest.raises(InputError, match="stage 1 twice"):
        SearchSpace(trace(SMALL["resnet8"]), spec)


@pytest.mark.parametrize("given", [4.0, True])
def test_backbones_are_equal_exactly_where_their_ids_are(given):
    backbone = SMALL["resnet8"]
    other = replace(backbone, options=(("width", given),))
    assert other != backbone
    assert Architecture(other).id != Architecture(backbone).id
    assert Architecture(other) not in SearchSpace(trace(backbone), SpaceSpec())


def test_an_option_may_be_zero_where_it_is_by_default(own):
    made = resolve(f"{own}:Counted", num_classes=4, input_size=(3, 8, 8))
    assert dict(made.options) == {"extra": 0}
    assert len(trace(made).sites) == 1
    with pytest.raises(InputError, match=r"gives \(1, 6\) for an image, not 4 logits"):
        trace(resolve(f"{own}:Counted", num_classes=4, input_size=(3, 8, 8), options={"extra": 2}))


def test_sites_have_names_of_their_own(registered):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.a(x) + x
            return self.b(x) + x

    class Net2(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.block_2 = nn.Conv2d(3, 4, 1), Twice(), Residual(4)

        def forward(self, x):
            return self.block_2(self.block(self.stem(x))).mean((2, 3))

    names = [site.name for site in trace(registered(Net2)).sites]
    assert len(set(names)) == 3
    assert "block_2" in names


def test_a_module_in_the_place_of_the_blocks_is_refused_when_traced(registered):
    class Taken(nn.Module):
        def __init__(self):
            super().__init__()
            self.se, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(self.se(x).mean((2, 3)))

    with pytest.raises(InputError, match="module named 'se'"):
        trace(registered(Taken))


def test_no_site_is_within_the_networks_own_attention(registered):
    class WithSE(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 4)
            self.reduce, self.expand = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

        def forward(self, x):
            x = self.act(self.conv(x))
            gate = torch.sigmoid(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))))
            return self.fc((x * gate).mean((2, 3)))

    assert [site.name for site in trace(registered(WithSE)).sites] == ["conv"]


@pytest.mark.parametrize("what", ["builtins:dict", "torch:relu"])
def test_what_has_no_signature_is_refused(what):
    with pytest.raises(InputError, match="must be"):
        family(what)
    with pytest.raises(InputError):
        resolve(what, num_classes=4, input_size=(3, 8, 8))


def test_types_that_only_a_type_checker_knows_do_no_harm(own):
    assert block_price(block(f"{own}:Unresolvable", "pre", 4), (4, 8, 8)).params == 0


def test_a_module_that_exits_when_imported_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "leaves.py").write_text("import sys; sys.exit('usage: leaves.py DATA')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="module leaves cannot be imported"):
        resolve("leaves:Net", num_classes=4, input_size=(3, 8, 8))


def test_a_fixed_parameter_is_not_decoded_to_anything_else():
    space = SearchSpace(trace(SMALL["resnet8"]), SpaceSpec.model_validate({"variant": "bump", "insertion": False}))
    assert space.decode({"variant": "bump"}).sites == ()
    with pytest.raises(InputError, match="variant"):
        space.decode({"variant": "nonsense"})


def test_ratios_of_places_are_checked_too():
    spec = SpaceSpec.model_validate({"ratio": {"choices": [2], "per": "layer", "at": {"layer1": [4000]}}})
    with pytest.raises(InputError, match=r"ratio 4000 is wider than the channels: the widest site, layer1\.0, has 4"):
        SearchSpace(trace(SMALL["resnet8"]), spec)


def test_no_squeeze_starts_with_its_units_on():
    module = family("no_squeeze").module(16, hidden=(2,), excitation="sigmoid", bias=False)
    assert all((row.sum() >= 0).item() for row in module.fc[0].weight.flatten(1))


def test_a_deep_stem_loses_its_pooling_too():
    deep = pytest.importorskip("timm") and resolve(
        "timm:resnet50d", num_classes=4, input_size=(3, 32, 32), options={"stem": "cifar"}
    )
    assert trace(deep).sites[0].shapes["post"][1:] == (32, 32)


def test_a_stem_of_a_special_kind_is_refused():
    pytest.importorskip("timm")
    special = resolve("timm:resnetv2_50x1_bit", num_classes=4, input_size=(3, 32, 32), options={"stem": "cifar"})
    with pytest.raises(InputError, match="StdConv2d"):
        instantiate(special)


def test_a_network_leaves_the_weights_that_others_begin_with_alone():
    architecture = uniform(trace(SMALL["resnet8"]), options=Options(ratio=2))
    first = build(architecture, seed=5)
    before = {key: value.clone() for key, value in first.state_dict().items()}
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
        for buffer in first.buffers():
            buffer.add_(1)
    again = build(architecture, seed=5).state_dict()
    assert all(torch.equal(again[key], value) for key, value in before.items())
