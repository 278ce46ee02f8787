"""What each optimizer does with each parameter."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn, optim

from search_space.backbones import resolve
from search_space.building import build as build_network
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options
from trainers.optimizers import build
from trainers.recipe import OptimizerName, Recipe

RECIPES = [
    Recipe(optimizer="sgd", nesterov=True, weight_decay=0.1),
    Recipe(optimizer="adamw", weight_decay=0.1),
    Recipe(optimizer="adadelta", weight_decay=0.1),
]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """With SE blocks that have all kinds of parameters: weights, biases, and a lone number."""
    backbone = resolve("resnet8", num_classes=10, input_size=(3, 16, 16))
    everywhere = uniform(trace(backbone), options=Options(ratio=4, bias=True))
    return build_network(
        replace(everywhere, sites=tuple((s, replace(b, from_identity=True)) for s, b in everywhere.sites))
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "adadelta"])
def test_norms_and_biases_can_be_without_weight_decay(network: nn.Module, optimizer: OptimizerName) -> None:
    built = build(network, Recipe(optimizer=optimizer, weight_decay=0.1, decay_norm_and_bias=False))
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = {
        group["weight_decay"]: [names[parameter] for parameter in group["params"]] for group in built.param_groups
    }
    assert sorted([*groups[0.1], *groups[0.0]]) == sorted(names.values())
    without = {name for name, parameter in network.named_parameters() if parameter.ndim <= 1}
    assert set(groups[0.0]) == without
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")} < without
    assert all(name.endswith(".weight") for name in groups[0.1])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer)
def test_all_parameters_decay_unless_told_otherwise(network: nn.Module, recipe: Recipe) -> None:
    (group,) = build(network, recipe).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    assert group["weight_decay"] == 0.1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer)
def test_steps_are_those_of_torchs_plain_loops(network: nn.Module, recipe: Recipe, layout: torch.memory_format) -> None:
    reference = copy.deepcopy(network)
    ours = copy.deepcopy(network).to(memory_format=layout)
    plain: optim.Optimizer = {
        "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1, foreach=False),
        "adamw": lambda p: optim.AdamW(p, 1e-3, weight_decay=0.1, foreach=False),
        "adadelta": lambda p: optim.Adadelta(p, 1.0, weight_decay=0.1, foreach=False),
    }[recipe.optimizer](reference.parameters())
    optimizer = build(ours, recipe)
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        reference.zero_grad()
        reference(images).square().mean().backward()
        for mine, other in zip(ours.parameters(), reference.parameters(), strict=True):
            mine.grad = _like(mine, other.grad)
        plain.step()
        optimizer.step()
    for mine, other in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def _like(parameter: Tensor, gradient: Tensor | None) -> Tensor:
    """The gradient in the parameter's memory layout, as autograd leaves it."""
    assert gradient is not None
    return torch.empty_like(parameter).copy_(gradient)
