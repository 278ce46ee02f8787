"""Networks as users write them: nested blocks, shared forks, in-place operations, odd names."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from se_block import se_block
from torch import nn

from search_space.architecture import Architecture
from search_space.building import build, se_module
from search_space.errors import InputError
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.tracing import trace
from search_space.variants.se import SqueezeExcite


def conv():
    return nn.Conv2d(4, 4, 3, padding=1)


class Net(nn.Module):
    """A body between a stem and a classifier."""

    def __init__(self, body, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.body = body
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.body(F.relu(self.stem(x))).mean((2, 3)))


@pytest.fixture
def backbone(registered):
    """Registers a network and gives its backbone."""
    return lambda make_body: registered(lambda: Net(make_body(), 4))


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return F.relu(x + self.inner(x))


class SharedFork(nn.Module):
    """Two additions whose branches part at one place."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = conv(), conv(), conv()

    def forward(self, x):
        x = self.c1(x)
        y = x + self.c2(x)
        return x + self.c3(y)


def open_gates_and_all_learn(architecture, monkeypatch):
    """With open gates it is the backbone; with its own, every SE weight gets a gradient."""
    images = torch.rand(8, 3, 8, 8)
    network = build(architecture)
    assert len([m for m in network.modules() if isinstance(m, SqueezeExcite)]) == len(architecture.sites)
    network(images).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    with monkeypatch.context() as patch:
        patch.setattr(SqueezeExcite, "gate", lambda self, x: torch.ones(x.shape[0], x.shape[1], 1, 1))
        assert torch.equal(network(images), build(Architecture(architecture.backbone))(images))


AROUND = ("standard", "pre", "post", "identity")


@pytest.mark.parametrize(
    ("body", "positions"),
    [
        *product([lambda: Residual(Residual(nn.Sequential(conv(), conv())))], product((*AROUND, "3x3"), AROUND)),
        *product([SharedFork], product(AROUND, AROUND)),
    ],
    ids=[f"nested {p}" for p in product((*AROUND, "3x3"), AROUND)] + [f"fork {p}" for p in product(AROUND, AROUND)],
)
def test_sites_within_each_other_keep_their_blocks(backbone, monkeypatch, body, positions):
    mine = backbone(body)
    sites = trace(mine).sites
    assert len(sites) == 2
    placed = tuple((site.name, se_block(p, (3,), excitation="tanh")) for site, p in zip(sites, positions, strict=True))
    open_gates_and_all_learn(Architecture(mine, placed), monkeypatch)


class Statement(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = conv()

    def forward(self, x):
        out = self.c(x)
        out.add_(x)
        return F.relu(out)


class ReluInPlaceOfTheShortcut(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu, self.c = nn.ReLU(inplace=True), conv()

    def forward(self, x):
        return x + self.c(self.relu(x))


class StatementOnAView(Statement):
    def forward(self, x):
        out = self.c(x)
        view = out.transpose(2, 3)
        out.add_(x)
        return F.relu(view)


@pytest.mark.parametrize("body", [StatementOnAView, ReluInPlaceOfTheShortcut])
def test_a_map_changed_in_place_and_used_again_is_refused(backbone, body):
    with pytest.raises(InputError, match="changes a map in place that is used again"):
        trace(backbone(body))


@pytest.mark.parametrize("position", AROUND)
def test_an_addition_in_place_whose_result_is_dropped_is_a_residual_addition(backbone, position):
    mine = backbone(Statement)
    (site,) = trace(mine).sites
    network = build(Architecture(mine, ((site.name, se_block(position, (2,))),))).eval()
    block, body = network.get_submodule(se_module(site.name)), network.get_submodule("body")
    x = torch.randn(2, 3, 8, 8)
    h = F.relu(network.get_submodule("stem")(x))
    expected = {
        "standard": lambda: F.relu(block(body.c(h)) + h),
        "pre": lambda: F.relu(body.c(block(h)) + h),
        "post": lambda: block(F.relu(body.c(h) + h)),
        "identity": lambda: F.relu(body.c(h) + block(h)),
    }[position]()
    torch.testing.assert_close(network(x), network.get_submodule("fc")(expected.mean((2, 3))))


def test_stages_that_share_a_name_are_numbered(backbone):
    class Stages(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage2, self.stage3, self.stage4 = (nn.Sequential(Residual(conv())) for _ in range(3))

        def forward(self, x):
            x = F.max_pool2d(self.stage2(x), 2)
            return self.stage4(self.stage3(x))

    traced = trace(backbone(Stages))
    assert [site.stage_name for site in traced.sites] == ["stage1", "stage2", "stage2"]
    spec = SpaceSpec(variant="standard", position="standard", ratio=[1], insertion=[True, False])
    assert SearchSpace(traced, spec).size == 4


def test_a_fork_that_is_no_map_is_no_site(backbone):
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.c, self.out = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 4, 1)

        def forward(self, x):
            a, b = x.chunk(2, 1)
            return self.out(self.c(a) + b)

    assert [site.name for site in trace(backbone(Halves)).sites] == ["stem", "body.c", "body.out"]


def test_a_site_at_the_very_end(registered):
    mine = registered(lambda: nn.Conv2d(3, 4, 1))
    (site,) = trace(mine).sites
    assert build(Architecture(mine, ((site.name, se_block("standard", (2,))),)))(torch.rand(2, 3, 8, 8)).shape == (
        2,
        4,
        8,
        8,
    )
