"""Calls whose constants depend on the mode are one graph, which does what the module does in either mode."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import stochastic_depth

from search_space.architecture import Architecture
from search_space.building import build, build_without_weights
from search_space.costs import cost
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options


def drop_rows(x, p, training):
    """As libraries write stochastic depth: it returns early, and draws by the sizes of what it is given."""
    if not training or p == 0.0:
        return x
    return x * x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - p)


def scaled(x, *, inference):
    """With a flag that is the other way round."""
    return x if inference else x * 2


torch.fx.wrap("scaled")


class Flagged(nn.Module):
    """A module that tracing keeps whole and that is given the mode."""

    def forward(self, x, training):
        """Twice as much in training."""
        return x * 2 if self.training and training else x


class Norm(nn.Module):
    """A residual block whose norm has its parameters and statistics in the block."""

    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), norm
        self.weight, self.bias = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))

    def forward(self, x):
        """[N, 4, H, W] to the same shape."""
        return x + self.norm(self.conv(x), self.mean, self.var, self.weight, self.bias, self.training, 0.3)


def _with_dropout_in_training_alone(block, x):
    y = block.conv(x)
    if block.training:
        y = F.dropout(y, 0.3)
    return x + y


def _with_module_in_training_alone(block, x):
    y = block.conv(x)
    if block.training:
        y = block.drop(y)
    return x + y


BODIES = {
    "keyword": lambda b, x: x + F.dropout(b.conv(x), p=0.3, training=b.training),
    "positional": lambda b, x: x + F.dropout(b.conv(x), 0.3, b.training),
    "both operands": lambda b, x: F.dropout(x, 0.1, b.training) + F.dropout(b.conv(x), 0.3, b.training),
    "in place": lambda b, x: x + F.dropout(b.conv(x), 0.3, b.training, inplace=True),
    "dropout2d": lambda b, x: x + F.dropout2d(b.conv(x), 0.3, b.training),
    "alpha dropout": lambda b, x: x + F.alpha_dropout(b.conv(x), 0.3, b.training),
    "feature alpha dropout": lambda b, x: x + F.feature_alpha_dropout(b.conv(x), 0.3, b.training),
    "rrelu": lambda b, x: x + F.rrelu(b.conv(x), training=b.training),
    "torch.dropout": lambda b, x: x + torch.dropout(b.conv(x), 0.3, b.training),
    "an inverted flag": lambda b, x: x + scaled(b.conv(x), inference=not b.training),
    "another number": lambda b, x: x + F.dropout(b.conv(x), b.p if b.training else 0.0, True),
    "a number or none": lambda b, x: x + torch.clamp(b.conv(x), 0.2, 0.4 if b.training else None),
    "within a tuple": lambda b, x: x + F.pad(b.conv(x), (0, 0, 0, 0), value=0.0) * (2 if b.training else 1),
    "stochastic depth of torchvision": lambda b, x: x + stochastic_depth(b.conv(x), 0.4, "row", b.training),
    "a function that returns early": lambda b, x: x + drop_rows(b.conv(x), 0.4, b.training),
    "a module that is given the mode": lambda b, x: x + b.flagged(b.conv(x), b.training),
    "a dropout in training alone": _with_dropout_in_training_alone,
    "a dropout module in training alone": _with_module_in_training_alone,
}


class Block(nn.Module):
    """A residual block, its body given."""

    def __init__(self, body):
        super().__init__()
        self.conv, self.drop, self.flagged = nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(), Flagged()
        self.p, self.body, self.mode = 0.3, body, "a name that is taken"

    def forward(self, x):
        """[N, 4, H, W] to the same shape."""
        return self.body(self, x)


class Net(nn.Module):
    """Two blocks, of which the first is called twice, and a head with a dropout of its own."""

    def __init__(self, make):
        super().__init__()
        self.stem, self.blocks, self.fc = nn.Conv2d(3, 4, 1), nn.Sequential(make(), make()), nn.Linear(4, 4)

    def forward(self, x):
        """[N, 3, H, W] to [N, 4]."""
        x = self.blocks(self.blocks[0](self.stem(x)))
        return self.fc(F.dropout(x.mean((2, 3)), 0.2, self.training))


MAKES = {name: (lambda body=body: Net(lambda: Block(body))) for name, body in BODIES.items()}
MAKES["batch norm"] = lambda: Net(lambda: Norm(F.batch_norm))
MAKES["instance norm"] = lambda: Net(lambda: Norm(F.instance_norm))


def check_same(network, module):
    """The same logits with the same random numbers, in both modes, and the same statistics afterwards."""
    x = torch.rand(5, 3, 8, 8)
    for training in (True, False, True):
        results = []
        for made in (network, module):
            torch.manual_seed(1)
            results.append(made.train(training)(x))
        assert torch.equal(*results)
    for name, tensor in module.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


@pytest.mark.parametrize("name", MAKES)
def test_a_call_that_depends_on_the_mode_does_so_in_the_network(registered, name):
    backbone = registered(MAKES[name])
    assert [site.name for site in trace(backbone).sites] == ["blocks.0", "blocks.0_2", "blocks.1"]
    network, module = build(Architecture(backbone)), MAKES[name]()
    module.load_state_dict(network.state_dict())
    assert list(network.state_dict()) == list(module.state_dict())
    check_same(network, module)
    check_same(copy.deepcopy(network), module)
    with_se = uniform(trace(backbone), options=Options(ratio=2))
    assert cost(trace(backbone), with_se).params == sum(p.numel() for p in build_without_weights(with_se).parameters())
    build(with_se)(torch.rand(2, 3, 8, 8)).sum().backward()


def test_a_network_is_the_same_in_both_modes_after_pickling(registered):
    make = MAKES["keyword"]
    network, module = build(Architecture(registered(make))), make()
    module.load_state_dict(network.state_dict())
    for part in network.modules():
        part.__dict__.pop("body", None)
    check_same(pickle.loads(pickle.dumps(network)), module)


def test_a_part_in_evaluation_mode_has_its_own_mode(registered):
    make = MAKES["keyword"]
    network, module = build(Architecture(registered(make))), make()
    module.load_state_dict(network.state_dict())
    for made in (network, module):
        made.train()
        made.blocks.eval()
    x = torch.rand(5, 3, 8, 8)
    results = []
    for made in (network, module):
        torch.manual_seed(1)
        results.append(made(x))
    assert torch.equal(*results)


def test_a_fork_stays_a_fork_where_branch_and_shortcut_depend_on_the_mode(registered):
    traced = trace(registered(MAKES["both operands"]))
    assert all(set(site.shapes) == {"standard", "pre", "post", "identity"} for site in traced.sites)


def test_networks_that_do_not_ask_for_the_mode_have_no_constants(registered):
    traced = trace(
        registered(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    )
    assert traced.constants == {}


def _with_another_head(block, x):
    return block.conv(x) if block.training else x + block.conv(x)


def _with_noise_in_training(block, x):
    y = block.conv(x)
    return x + (y + torch.randn_like(y) if block.training else y)


@pytest.mark.parametrize("body", [_with_another_head, _with_noise_in_training])
def test_what_is_another_network_in_training_is_refused_with_where(registered, body):
    with pytest.raises(InputError) as caught:
        trace(registered(lambda: Net(lambda: Block(body))))
    message = str(caught.value)
    assert "is another network in training than in evaluation, from" in message
    assert "at blocks.0 on: switch auxiliary heads off" in message
    assert len(message.splitlines()) == 1
