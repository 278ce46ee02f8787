"""The average of a model's weights, against its definition in double precision."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from search_space.backbones import resolve
from search_space.building import build
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from trainers.averaging import WeightAverage

MakeModel = Callable[..., nn.Module]


def trained(model: nn.Module, steps: range) -> Iterator[int]:
    """Trains a model on noise; a step is a function of the weights and its number."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images, labels = torch.randn(8, 3, 8, 8, generator=generator), torch.arange(8) % 7
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        yield step


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_is_the_recursion(make_model: MakeModel, decay: float) -> None:
    model = make_model()
    average = WeightAverage(model, decay)
    expected = {name: value.double().numpy() for name, value in model.state_dict().items()}
    for step in trained(model, range(1, 31)):
        average.update(model, step)
        keep = min(decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            expected[name] = keep * expected[name] + (1 - keep) * value.double().numpy()
    found = average.model.state_dict()
    for name, value in found.items():
        if value.is_floating_point():
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-7)
            assert not torch.equal(value, model.state_dict()[name])
    (counter,) = (name for name, value in found.items() if not value.is_floating_point())
    assert found[counter].item() == model.state_dict()[counter].item() == 30


def test_a_short_run_forgets_its_first_weights(make_model: MakeModel) -> None:
    model, target = make_model(seed=0), make_model(seed=1)
    average = WeightAverage(model, 0.9999)
    for step in range(1, 101):
        average.update(target, step)
    for mine, other, first in zip(average.model.parameters(), target.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine.detach() - other, torch.zeros_like(other), rtol=0, atol=1e-6)
        assert not torch.equal(first, other) or first.std() == 0


def test_it_goes_on_from_saved_weights_bit_for_bit(make_model: MakeModel) -> None:
    model = make_model(dropout=0.0)
    average = WeightAverage(model, 0.95)
    for step in trained(model, range(1, 6)):
        average.update(model, step)
    saved = [{name: value.clone() for name, value in m.state_dict().items()} for m in (model, average.model)]
    for step in trained(model, range(6, 12)):
        average.update(model, step)

    other = make_model(seed=5, dropout=0.0)
    again = WeightAverage(other, 0.95)
    other.load_state_dict(saved[0])
    again.model.load_state_dict(saved[1])
    for step in trained(other, range(6, 12)):
        again.update(other, step)
    for name, value in average.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])


def test_the_model_is_left_alone_and_the_average_is_not_trained() -> None:
    """A network with SE is a graph module, here with its channels last in memory."""
    backbone = resolve("resnet8", num_classes=7, input_size=(3, 8, 8))
    model = build(uniform(trace(backbone))).to(memory_format=torch.channels_last)
    average = WeightAverage(model, 0.9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average.update(model, 1)
    for _ in trained(model, range(1, 2)):
        assert all(torch.equal(average.model.state_dict()[name], value) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    strides = [parameter.stride() for parameter in model.parameters()]
    average.update(model, 2)
    assert [parameter.stride() for parameter in average.model.parameters()] == strides
    images = torch.randn(2, 3, 8, 8)
    assert not torch.equal(average.model.eval()(images), model.eval()(images))
