"""Where positions and sites lie in blocks of many kinds: bottlenecks, depthwise ones, ties, Inception modules."""

import pytest
import torch
import torch.nn.functional as F
from se_block import se_block
from torch import Tensor, nn

from search_space.architecture import POSITIONS, Architecture
from search_space.backbones import resolve
from search_space.building import build, se_module
from search_space.tracing import trace


class Net(nn.Module):
    """A stem of eight channels, a body and a classifier."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.body = body
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def conv(i: int = 8, o: int = 8, kernel: int | tuple[int, int] = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, kernel, padding="same", groups=groups)


class Bottleneck(nn.Module):
    def __init__(self):
        super().__init__()
        self.reduce, self.bn1 = conv(8, 4, 1), nn.BatchNorm2d(4)
        self.spatial, self.bn2 = conv(4, 4, 3), nn.BatchNorm2d(4)
        self.expand, self.bn3 = conv(4, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x, inside=lambda x: x):
        out = F.relu(self.bn1(self.reduce(x)))
        out = F.relu(inside(self.bn2(self.spatial(out))))
        return F.relu(x + self.bn3(self.expand(out)))


class Depthwise(nn.Module):
    """An inverted residual of MobileNetV2: no activation at its end, none after the sum."""

    def __init__(self):
        super().__init__()
        self.expand, self.bn1 = conv(8, 24, 1), nn.BatchNorm2d(24)
        self.spatial, self.bn2 = conv(24, 24, 5, groups=24), nn.BatchNorm2d(24)
        self.project, self.bn3 = conv(24, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x, inside=lambda x: x):
        out = F.relu6(self.bn1(self.expand(x)))
        out = F.relu6(inside(self.bn2(self.spatial(out))))
        return x + self.bn3(self.project(out))


class WithoutNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.spatial, self.last = conv(8, 6), conv(6, 8, 1)

    def forward(self, x, inside=lambda x: x):
        return F.relu(x + self.last(F.relu(inside(self.spatial(x)))))


class LastOfTwo(nn.Module):
    """Behind the later of two that others follow."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = conv(8, 6), conv(6, 5, (1, 7)), conv(5, 8, 1)

    def forward(self, x, inside=lambda x: x):
        return F.relu(x + self.last(F.relu(inside(self.second(self.first(x))))))


@pytest.mark.parametrize(
    ("body", "shape"),
    [(Bottleneck, (4, 6, 6)), (Depthwise, (24, 6, 6)), (WithoutNorm, (6, 6, 6)), (LastOfTwo, (5, 6, 6))],
)
def test_3x3_lies_after_the_spatial_convolution_and_its_norm(registered, body, shape):
    backbone = registered(lambda: Net(body()), (3, 6, 6))
    (site,) = trace(backbone).sites
    assert set(site.shapes) == set(POSITIONS)
    assert site.shapes["3x3"] == shape
    network = build(Architecture(backbone, ((site.name, se_block("3x3", (3,), bias=True)),)))
    se = network.get_submodule(se_module(site.name))
    x = torch.randn(2, 3, 6, 6)
    plain = Net(body())
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("se.")})
    for training in (True, False):
        network.train(training)
        plain.train(training)
        expected = plain.head(plain.body(plain.stem(x), inside=se).mean((2, 3)))
        torch.testing.assert_close(network(x), expected)
    assert not torch.allclose(expected, plain(x), rtol=1e-3)


class TwoPaths(nn.Module):
    """As in Inception-ResNet: no spatial convolution that all of the branch passes through."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = conv(8, 4), conv(8, 4), conv(8, 8, 1)

    def forward(self, x):
        return F.relu(x + self.last(torch.cat([self.left(x), self.right(x)], 1)))


NO_POSITION_INSIDE = {
    "one convolution": lambda: Around(conv()),
    "the spatial one is the last": lambda: Around(conv(8, 8, 1), nn.ReLU(), conv()),
    "pointwise alone": lambda: Around(conv(8, 4, 1), nn.ReLU(), conv(4, 8, 1)),
    "two paths": TwoPaths,
}


class Around(nn.Module):
    def __init__(self, *branch):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x):
        return F.relu(x + self.branch(x))


@pytest.mark.parametrize("body", NO_POSITION_INSIDE.values(), ids=NO_POSITION_INSIDE)
def test_3x3_is_not_offered_without_such_a_convolution(registered, body):
    (site,) = trace(registered(lambda: Net(body()))).sites
    assert set(site.shapes) == set(POSITIONS) - {"3x3"}


# which side of an addition is the branch


class Sides(nn.Module):
    def __init__(self, left: nn.Module, right: nn.Module):
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x):
        return F.relu(self.left(x) + self.right(x))


@pytest.mark.parametrize(
    ("lighter", "heavier"),
    [
        (lambda: conv(8, 8, 1), lambda: conv(8, 8, 3)),
        (lambda: conv(8, 8, 3, groups=8), lambda: conv(8, 8, 3, groups=4)),
        (lambda: nn.Sequential(conv(8, 2, 3), conv(2, 8, 1)), lambda: nn.Sequential(conv(8, 3, 3), conv(3, 8, 1))),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_of_sides_with_equally_many_convolutions_the_one_of_more_work_is_the_branch(
    registered, lighter, heavier, swapped
):
    backbone = registered(lambda: Net(Sides(heavier(), lighter()) if swapped else Sides(lighter(), heavier())))
    (site,) = trace(backbone, "residual").sites
    network = build(Architecture(backbone, ((site.name, se_block("standard", (3,), bias=True)),))).eval()
    se = network.get_submodule(se_module(site.name))
    x = torch.randn(2, 3, 8, 8)
    h = network.stem(x)

    def side(name: str, h: Tensor) -> Tensor:
        part = network.get_submodule(f"body.{name}")
        return nn.Sequential(*part.children())(h) if list(part.children()) else part(h)

    light, heavy = ("right", "left") if swapped else ("left", "right")
    expected = F.relu(side(light, h) + se(side(heavy, h)))
    torch.testing.assert_close(network(x), network.head(expected.mean((2, 3))))


def test_more_convolutions_count_more_than_more_work(registered):
    backbone = registered(lambda: Net(Sides(conv(8, 8, 5), nn.Sequential(conv(8, 2, 1), conv(2, 8, 1)))))
    (site,) = trace(backbone, "residual").sites
    assert trace(backbone, "residual").edges[site.name, "standard"].origin.target == "body.right.1"


def test_sides_of_the_same_work_are_no_site(registered):
    sites = trace(registered(lambda: Net(Sides(conv(), conv()))), "residual").sites
    assert [site.name for site in sites] == ["stem", "body.left", "body.right"]


# concatenations within one another


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(8, 2), conv(8, 2), conv(8, 4)

    def forward(self, x):
        inner = torch.cat([self.a(x), self.b(x)], 1)
        return torch.cat([inner, self.c(x)], 1)


class InnerUsedElsewhere(Cells):
    def forward(self, x):
        inner = torch.cat([self.a(x), self.b(x)], 1)
        return torch.cat([inner, self.c(x)], 1) * F.pad(inner, (0, 0, 0, 0, 0, 4))


def test_a_concatenation_that_only_another_one_takes_is_no_site(registered):
    (site,) = trace(registered(lambda: Net(Cells()))).sites
    assert site.shapes == {"standard": (8, 8, 8)}
    inner, outer = trace(registered(lambda: Net(InnerUsedElsewhere()))).sites
    assert (inner.shapes, outer.shapes) == ({"standard": (4, 8, 8)}, {"standard": (8, 8, 8)})


@pytest.mark.parametrize(("name", "number"), [("inception_v3", 11), ("googlenet", 9), ("bn_inception", 10)])
def test_inception_networks_have_a_site_at_each_module(name, number):
    sites = trace(resolve(name, num_classes=10, input_size=(3, 128, 128))).sites
    assert len(sites) == number
    assert all(set(site.shapes) == {"standard"} for site in sites)


# activations


MODULES = [
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU, nn.GELU, nn.Mish),
    *(nn.Hardswish, nn.Softplus, nn.Tanh),
]
FUNCTIONS = [
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.silu, F.gelu, F.mish, F.hardswish, F.softplus, F.tanh),
    *(torch.relu, torch.relu_, torch.selu, torch.celu, torch.tanh, Tensor.relu, Tensor.tanh, Tensor.relu_),
]


class Called(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        if self.function in (Tensor.relu, Tensor.tanh, Tensor.relu_):
            return getattr(x, self.function.__name__)()
        return self.function(x)


@pytest.mark.parametrize(
    "activation",
    [*MODULES, *(lambda f=f: Called(f) for f in FUNCTIONS)],
    ids=[*(m.__name__ for m in MODULES), *(f"function {i} {f.__name__}" for i, f in enumerate(FUNCTIONS))],
)
def test_a_block_comes_after_the_activation(registered, activation):
    class Activated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = conv(), nn.BatchNorm2d(8), activation()

        def forward(self, x):
            return self.act(self.norm(self.conv(x)))

    backbone = registered(lambda: Net(Activated()))
    traced = trace(backbone)
    network = build(Architecture(backbone, (("body.conv", se_block("standard", (3,), bias=True)),))).eval()
    se = network.get_submodule(se_module("body.conv"))
    x = torch.randn(2, 3, 8, 8)
    h = activation().eval()(network.body.norm(network.body.conv(network.stem(x)))).detach()
    torch.testing.assert_close(network(x), network.head(se(h).mean((2, 3))))
    assert len(traced.sites) == 2


def test_what_is_no_activation_stays_behind_the_block(registered):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            return F.max_pool2d(self.conv(x), 2)

    site = trace(registered(lambda: Net(Pooled()))).site("body.conv")
    assert site.shapes == {"standard": (8, 8, 8)}
