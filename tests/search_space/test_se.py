"""The SE block against its definition, computed in NumPy."""

import numpy as np
import pytest
import torch
from architecture_strategies import examples
from hypothesis import given
from hypothesis import strategies as st

from search_space.architecture import EXCITATIONS, SQUEEZES
from search_space.variants.se import SqueezeExcite

SQUEEZE = {"avg": lambda x: x.mean(axis=(2, 3)), "max": lambda x: x.max(axis=(2, 3))}
EXCITE = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5)),
    hidden=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    squeeze=st.sampled_from(SQUEEZES),
    excitation=st.sampled_from(EXCITATIONS),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
@examples(80)
def test_a_block_is_its_definition(shape, hidden, squeeze, excitation, bias, seed):
    generator = torch.Generator().manual_seed(seed)
    block = SqueezeExcite(shape[1], hidden=tuple(hidden), squeeze=squeeze, excitation=excitation, bias=bias).double()
    for parameter in block.parameters():
        parameter.data.normal_(generator=generator)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    weights = [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy() if layer.bias is not None else 0.0)
        for layer in block.fc
    ]
    assert [w.shape for w, _ in weights] == [
        (o, i) for i, o in zip([shape[1], *hidden], [*hidden, shape[1]], strict=True)
    ]
    z = SQUEEZE[squeeze](x.numpy())
    for weight, shift in weights[:-1]:
        z = np.maximum(z @ weight.T + shift, 0)
    weight, shift = weights[-1]
    gate = EXCITE[excitation](z @ weight.T + shift)
    expected = x.numpy() * gate[:, :, None, None]
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(block.gate(x).detach().numpy()[:, :, 0, 0], gate, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("squeeze", SQUEEZES)
def test_a_block_keeps_channels_last(squeeze):
    x = torch.randn(2, 8, 5, 5).to(memory_format=torch.channels_last)
    out = SqueezeExcite(8, hidden=(2,), squeeze=squeeze, excitation="sigmoid", bias=False)(x)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("bias", [False, True])
def test_layers_have_biases_all_or_none(bias):
    block = SqueezeExcite(8, hidden=(2, 4), squeeze="avg", excitation="sigmoid", bias=bias)
    assert [layer.bias is not None for layer in block.fc] == [bias] * 3


def test_repr_shows_the_operators():
    assert "squeeze=max, excitation=tanh" in repr(
        SqueezeExcite(4, hidden=(2,), squeeze="max", excitation="tanh", bias=False)
    )


@pytest.mark.parametrize("hidden", [(1,), (2, 1), (1, 2), (1, 1), (2, 1, 2)])
def test_few_blocks_start_without_a_gradient_on_maps_that_are_not_negative(hidden):
    def starts_dead(seed):
        torch.manual_seed(seed)
        block = SqueezeExcite(16, hidden=hidden, squeeze="avg", excitation="sigmoid", bias=False)
        block(torch.rand(4, 16, 5, 5)).square().sum().backward()
        return not all(layer.weight.grad.any() for layer in block.fc)

    # Left as they are drawn, 44 to 64 of the hundred do.
    assert sum(starts_dead(seed) for seed in range(100)) <= 10
