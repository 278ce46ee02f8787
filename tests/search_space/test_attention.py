"""Networks with attention get one message whatever stops them first; other products of maps do not count."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_space.attention import attends
from search_space.errors import InputError
from search_space.tracing import trace

MESSAGE = "is a transformer or has attention like one"


class Net(nn.Module):
    """From images of three channels to four logits: a residual block, and a body that is given."""

    def __init__(self, body, layers=None):
        super().__init__()
        self.stem, self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        self.body, self.layers = body, nn.ModuleDict(layers or {})

    def forward(self, x):
        """[N, 3, H, W] to [N, 4]."""
        x = self.stem(x)
        x = self.body(self, x + self.conv(x))
        return self.fc(x.mean((2, 3)))


def tokens(x):
    return x.flatten(2).transpose(1, 2)


def maps(tokens, x):
    return tokens.transpose(1, 2).reshape(x.shape)


def self_attention(net, x):
    q, k, v = net.layers["in"](tokens(x)).chunk(3, -1)
    return maps(torch.softmax(q @ k.transpose(1, 2), -1) @ v, x)


def fused(net, x):
    q, k, v = (part[:, None] for part in net.layers["in"](tokens(x)).chunk(3, -1))
    return maps(F.scaled_dot_product_attention(q, k, v)[:, 0], x)


def einsum(net, x):
    q, k, v = net.layers["in"](tokens(x)).chunk(3, -1)
    return maps(torch.einsum("nij,njc->nic", torch.einsum("nic,njc->nij", q, k).softmax(-1), v), x)


def linear_attention(net, x):
    q, k, v = net.layers["in"](tokens(x)).chunk(3, -1)
    return maps(F.relu(q) @ (F.relu(k).transpose(1, 2) @ v), x)


def talking_heads(net, x):
    q, k, v = (part.view(len(x), -1, 2, 4).transpose(1, 2) for part in net.layers["in"](tokens(x)).chunk(3, -1))
    weights = net.layers["heads"]((q @ k.transpose(2, 3)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return maps((weights.softmax(-1) @ v).transpose(1, 2).flatten(2), x)


def talking_heads_by_convolutions(net, x):
    q, k, v = (part.view(len(x), -1, 2, 4).transpose(1, 2) for part in net.layers["in"](tokens(x)).chunk(3, -1))
    weights = net.layers["mixed"](q @ k.transpose(2, 3))
    return maps((weights.softmax(-1) @ v).transpose(1, 2).flatten(2), x)


def after_global_context(net, x):
    weights = x.mean(1).flatten(1).softmax(-1)[..., None]
    return self_attention(net, x + (x.flatten(2) @ weights)[..., None])


def multi_head(net, x):
    return maps(net.layers["attention"](*[tokens(x)] * 3)[0], x)


def encoder(net, x):
    return maps(net.layers["encoder"](tokens(x)), x)


def of_sizes_alone(net, x):
    return self_attention(net, x) if x.shape[2] % 2 == 0 else x


def in_training_alone(net, x):
    return self_attention(net, net.conv(x) if net.training else x)


def for_large_images(net, x):
    assert x.shape[-1] >= 32, "images of 32 pixels or more, please"
    return self_attention(net, F.adaptive_avg_pool2d(x, 8))


def _projections():
    return {"in": nn.Linear(8, 24), "heads": nn.Linear(2, 2), "mixed": nn.Conv2d(2, 2, 1)}


ATTENTION = [
    *((body, _projections) for body in (self_attention, fused, einsum, linear_attention, talking_heads)),
    *((body, _projections) for body in (talking_heads_by_convolutions, after_global_context)),
    *((body, _projections) for body in (of_sizes_alone, in_training_alone, for_large_images)),
    (multi_head, lambda: {"attention": nn.MultiheadAttention(8, 2, batch_first=True)}),
    (encoder, lambda: {"encoder": nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)}),
]


@pytest.mark.parametrize(("body", "layers"), ATTENTION, ids=[body.__name__ for body, _ in ATTENTION])
def test_networks_with_attention_are_refused_as_transformers(registered, body, layers):
    with pytest.raises(InputError, match=MESSAGE) as caught:
        trace(registered(lambda: Net(body, layers())))
    assert len(str(caught.value).splitlines()) == 1


def global_context(net, x):
    weights = net.layers["weights"](x).flatten(2).softmax(-1).transpose(1, 2)
    return x + net.layers["context"]((x.flatten(2) @ weights)[..., None])


def twice_global_context(net, x):
    return global_context(net, net.conv(global_context(net, x)))


def global_context_after_additions(net, x):
    for _ in range(2):
        x = x + net.layers["context"](x)
        weights = net.layers["weights"](x).flatten(2).softmax(-1).transpose(1, 2)
        x = x + (x.flatten(2) @ weights)[..., None]
    return x


def bilinear_pooling(net, x):
    flat = x.flatten(2)
    return net.layers["pooled"]((flat @ flat.transpose(1, 2) / flat.shape[-1]).flatten(1))[..., None, None]


def covariance_pooling(net, x):
    flat = x.flatten(2)
    root = covariance = flat @ flat.transpose(1, 2)
    for _ in range(2):
        root = (root + root @ covariance) / math.sqrt(2)
    return net.layers["pooled"](root.flatten(1))[..., None, None]


def coupled_square_root(net, x):
    """The coupled iteration of covariance pooling, arXiv 1712.01034."""
    flat = x.flatten(2)
    root = flat @ flat.transpose(1, 2)
    inverse = torch.eye(8, device=x.device) + 0 * root
    for _ in range(3):
        step = 1.5 * torch.eye(8, device=x.device) - 0.5 * (inverse @ root)
        root, inverse = root @ step, step @ inverse
    return net.layers["pooled"](root.flatten(1))[..., None, None]


def mixed_by_weights(net, x):
    flat = torch.einsum("ncp,cd->ndp", x.flatten(2), net.layers["mix"].weight)
    return torch.einsum("ncp,cd->ndp", flat.relu(), net.layers["mix"].weight).reshape(x.shape)


def gated(net, x):
    return x * torch.sigmoid(net.layers["context"](x.mean((2, 3), keepdim=True)))


class ChannelAttention(nn.Module):
    """A gate by the name of attention."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        """[N, 8, H, W] to the same shape."""
        return x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))


def named_attention(net, x):
    return net.layers["attention"](x)


def _of_context():
    return {"weights": nn.Conv2d(8, 1, 1), "context": nn.Conv2d(8, 8, 1)}


PLAIN = [
    *((body, _of_context) for body in (global_context, twice_global_context, gated)),
    (global_context_after_additions, _of_context),
    *(
        (body, lambda: {"pooled": nn.Linear(64, 8)})
        for body in (bilinear_pooling, covariance_pooling, coupled_square_root)
    ),
    (mixed_by_weights, lambda: {"mix": nn.Linear(8, 8)}),
    (named_attention, lambda: {"attention": ChannelAttention()}),
]


@pytest.mark.parametrize(("body", "layers"), PLAIN, ids=[body.__name__ for body, _ in PLAIN])
def test_other_products_and_gates_are_not_attention(registered, body, layers):
    backbone = registered(lambda: Net(body, layers()))
    assert trace(backbone).sites
    network = Net(body, layers()).to("meta")
    assert not attends(network, (3, 8, 8))


def asks_for_values(net, x):
    return x * 2 if x.sum() > 0 else x


def asks_for_sizes(net, x):
    return x[..., ::2] if x.shape[-1] > 4 else x


@pytest.mark.parametrize("body", [asks_for_values, asks_for_sizes])
def test_control_flow_without_attention_is_refused_with_where_and_what_helps(registered, body):
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return body(None, self.conv(x))

    with pytest.raises(InputError) as caught:
        trace(registered(lambda: Net(lambda net, x: net.layers["part"](x), {"part": Part()})))
    message = str(caught.value)
    line = body.__code__.co_firstlineno + 1
    assert f"cannot be traced by torch.fx at layers.part ({__file__}:{line}): symbolically traced variables" in message
    assert "torch.fx.wrap" in message
    assert "choose another network" in message
    assert MESSAGE not in message
    assert len(message.splitlines()) == 1


def test_attention_behind_a_question_for_values_is_told_by_the_modules_names(registered):
    layers = {"attention": nn.MultiheadAttention(8, 2, batch_first=True)}

    def body(net, x):
        return multi_head(net, x if x.sum() > 0 else -x)

    with pytest.raises(InputError, match=MESSAGE):
        trace(registered(lambda: Net(body, layers)))
