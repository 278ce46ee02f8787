"""The closed form of memory against what a run of the built network allocates and lets go."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from architecture_strategies import SMALL, architectures, examples
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from search_space.architecture import Architecture, Backbone
from search_space.backbones import resolve
from search_space.building import build
from search_space.costs import cost
from search_space.tracing import trace


def tiny(name: str, side: int = 32, **options) -> Backbone:
    return resolve(name, num_classes=4, input_size=(3, side, side), options=options)


QUICK = {
    **SMALL,
    "resnet8 of wide images": resolve("resnet8", num_classes=10, input_size=(3, 32, 64), options={"width": 4}),
    "wide_resnet": tiny("wide_resnet", depth=10, widen=2),
    "shufflenet_v1": tiny("shufflenet_v1", 64),
    "shufflenet_v2": tiny("shufflenet_v2_x0_5", 64),
    "mobilenet_v2": tiny("mobilenet_v2"),
    "mobilenet_v3": tiny("mobilenet_v3_small", 64, se="strip"),
}
LARGER = {
    "preact_resnet164": tiny("preact_resnet164", width=4),
    "shake_shake": tiny("shake_shake", width=8),
    "densenet121": tiny("densenet121"),
    "googlenet": tiny("googlenet", 64),
    "efficientnet_b0": tiny("efficientnet_b0", 64),
    "convnext_tiny": tiny("convnext_tiny", 64),
    "resnet50": tiny("resnet50", 64),
    "vgg11_bn": tiny("vgg11_bn", 32),
}


class AllocatedBytes(TorchDispatchMode):
    """The most bytes that were alive at once of what operations have allocated."""

    def __init__(self):
        super().__init__()
        self.alive = {}
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in tensors(result):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in before and storage.data_ptr() not in self.alive:
                self.alive[storage.data_ptr()] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, storage.data_ptr())
        self.most = max(self.most, sum(self.alive.values()))
        return result


def tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def allocated(architecture: Architecture) -> int:
    """What a forward pass of one image allocates at most, on the CPU; weights and the image are there before."""
    network = build(architecture).eval()
    image = torch.rand(1, *architecture.backbone.input_size)
    with torch.no_grad(), AllocatedBytes() as counted:
        network(image)
    return counted.most


def check_memory(architecture: Architecture) -> None:
    assert cost(trace(architecture.backbone), architecture).memory == allocated(architecture)


@pytest.mark.parametrize("backbone", [*QUICK.values()], ids=[*QUICK])
@given(data=st.data())
@examples(8)
def test_memory_is_what_a_run_allocates(backbone, data):
    check_memory(data.draw(architectures(trace(backbone))))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [*LARGER.values()], ids=[*LARGER])
@given(data=st.data())
@examples(4)
def test_memory_is_what_a_run_of_a_larger_network_allocates(backbone, data):
    check_memory(data.draw(architectures(trace(backbone))))


@pytest.mark.parametrize("backbone", [*QUICK.values(), *LARGER.values()], ids=[*QUICK, *LARGER])
def test_memory_of_a_backbone_is_what_a_run_allocates(backbone):
    check_memory(Architecture(backbone))


# sites within each other


def conv() -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1)


class Residual(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(*inner)

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


class LongShortcut(nn.Module):
    """A map that is kept over several blocks, widened in between."""

    def __init__(self):
        super().__init__()
        self.widen, self.narrow = nn.Conv2d(4, 24, 1), nn.Conv2d(24, 4, 1)
        self.block = Residual(conv(), nn.ReLU(inplace=True), conv())

    def forward(self, x):
        return self.block(x) + self.narrow(F.relu(self.widen(self.block(x)), inplace=True))


NESTED = {
    "within a branch": lambda: Residual(conv(), Residual(conv(), nn.ReLU(), conv()), conv()),
    "three deep": lambda: Residual(Residual(conv(), Residual(conv(), conv()))),
    "shared fork": SharedFork,
    "kept for long": LongShortcut,
}


class Net(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.body = body
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.body(F.relu(self.stem(x))).mean((2, 3)))


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
@given(data=st.data())
@examples(60)
def test_memory_where_sites_lie_within_each_other_is_what_a_run_allocates(registered, body, data):
    backbone = registered(lambda: Net(body()), (3, 6, 6))
    assert len(trace(backbone).sites) > 1
    check_memory(data.draw(architectures(trace(backbone))))


def test_blocks_of_some_nested_networks_are_alive_together(registered):
    """Without this, the tests above would not see the formula for overlapping blocks."""
    assert any(trace(registered(lambda body=body: Net(body()))).spans_overlap for body in NESTED.values())
