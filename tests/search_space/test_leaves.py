"""What timm registers as not to be traced is kept whole, except where there are sites inside."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_space.architecture import Architecture
from search_space.building import build
from search_space.costs import cost
from search_space.errors import InputError
from search_space.leaves import registered_leaves
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options

timm_layers = pytest.importorskip("timm.layers")


class Padded(nn.Conv2d):
    """A convolution whose padding depends on the size of the image, as no trace can have it."""

    def forward(self, x):
        """[N, C, H, W] to the same size, shifted if H is odd."""
        return super().forward(F.pad(x, (1, 1, 1, 1) if x.shape[2] % 2 == 0 else (2, 0, 2, 0)))


class Weights(nn.Module):
    """A convolution with a mix of kernels for each image, which puts the images of a batch among the channels."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, 4 * 4 * 25))

    def forward(self, x):
        """[N, 4, H, W] to the same shape."""
        n, c, h, w = x.shape
        kernels = (torch.sigmoid(x.mean((2, 3))[:, :2]) @ self.weight).view(n * 4, 4, 5, 5)
        return F.conv2d(x.reshape(1, n * c, h, w), kernels, padding=2, groups=n).view(n, 4, h, w)


class Block(nn.Module):
    """A residual block, which a trace can enter."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        """[N, 4, H, W] to the same shape."""
        out = torch.relu(self.conv(x))
        out.mul_(0.5)
        return out + x


class AskingBlock(Block):
    """A residual block, which a trace cannot enter."""

    def forward(self, x):
        """[N, 4, H, W] to the same shape."""
        return super().forward(x if x.shape[0] < 9 else x.flip(0))


def half(x):
    """Half a map, if it is large enough."""
    return x[..., ::2] if x.shape[-1] > 4 else x


class Net(nn.Module):
    """From images of three channels to four logits, its body given."""

    def __init__(self, *body):
        super().__init__()
        self.stem, self.body, self.fc = nn.Conv2d(3, 4, 1), nn.Sequential(*body), nn.Linear(4, 4)

    def forward(self, x):
        """[N, 3, H, W] to [N, 4]."""
        return self.fc(half(self.body(self.stem(x))).mean((2, 3)))


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    """timm's registry, as it was afterwards."""
    from timm.layers import _fx

    monkeypatch.setattr(_fx, "_leaf_modules", {*_fx._leaf_modules, Padded, Weights, Block, AskingBlock})
    monkeypatch.setattr(_fx, "_autowrap_functions", {*_fx._autowrap_functions, half, "a name"})


def conv():
    return nn.Conv2d(4, 4, 3, padding=1)


MAKES = {
    "a convolution": lambda: Net(Block(Padded(4, 4, 3)), Block(conv())),
    "a convolution of another kind": lambda: Net(Block(Weights()), Block(conv())),
    "timm's own": lambda: Net(Block(timm_layers.Conv2dSame(4, 4, 3)), Block(conv())),
    "blocks": lambda: Net(Block(conv()), Block(conv())),
}


@pytest.mark.parametrize("name", MAKES)
def test_networks_with_registered_modules_and_functions_are_what_they_were(registered, name):
    backbone = registered(MAKES[name])
    traced = trace(backbone)
    assert [site.name for site in traced.sites] == ["body.0", "body.1"]
    network, module = build(Architecture(backbone)), MAKES[name]()
    module.load_state_dict(network.state_dict())
    assert traced.params == sum(p.numel() for p in module.parameters())
    for size in (2, 8, 11, 16):
        x = torch.rand(3, 3, size, size)
        for training in (True, False):
            assert torch.equal(network.train(training)(x), module.train(training)(x))


@pytest.mark.parametrize("make", [lambda: Padded(4, 4, 3), Weights, conv], ids=["subclass", "other", "plain"])
def test_a_kept_convolution_counts_as_one(registered, make):
    class TwoConvolutions(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = make(), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.second(self.first(x)) + x

    (site,) = trace(registered(lambda: Net(TwoConvolutions()))).sites
    assert "3x3" in site.shapes
    (chained,) = [s for s in trace(registered(lambda: Net(make()))).sites if s.name.startswith("body")]
    assert list(chained.shapes) == ["standard"]


def test_se_goes_between_a_map_and_what_changes_it_in_place(registered):
    backbone = registered(MAKES["blocks"])
    plain, with_se = (build(architecture).eval() for architecture in (Architecture(backbone), _gated(backbone)))
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        for block in with_se.se.children():
            for parameter in block.parameters():
                parameter.zero_()  # every gate is a half
        assert not torch.allclose(plain(x), with_se(x))
        for block in with_se.body.children():
            block.conv.weight.mul_(2)
            block.conv.bias.mul_(2)
        assert torch.allclose(plain(x), with_se(x), atol=1e-6)


def _gated(backbone):
    return uniform(trace(backbone), options=Options(ratio=2), position="standard")


def test_a_registered_module_that_cannot_be_entered_is_kept_whole(registered):
    traced = trace(registered(lambda: Net(AskingBlock(conv()), Block(conv()))))
    assert [site.name for site in traced.sites] == ["body.1"]
    architecture = _gated(traced.backbone)
    assert cost(traced, architecture).params == sum(p.numel() for p in build(architecture).parameters())


def test_a_module_that_is_not_registered_is_not_kept(registered):
    class Unregistered(AskingBlock):
        pass

    with pytest.raises(InputError) as caught:
        trace(registered(lambda: Net(Unregistered(conv()))))
    message = str(caught.value)
    assert "cannot be traced by torch.fx at body.0" in message
    assert "test_leaves.py:" in message
    assert "torch.fx.wrap" in message
    assert len(message.splitlines()) == 1


def test_names_in_the_registry_are_left_out():
    assert half in registered_leaves().functions
    assert "a name" not in registered_leaves().functions


def test_networks_without_timm_do_not_import_it():
    code = (
        "import sys; from search_space.backbones import resolve; from search_space.tracing import trace;"
        "trace(resolve('resnet8', num_classes=4, input_size=(3, 8, 8))); assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
