"""Architectures of one seed differ in their SE and in nothing else."""

import random

import pytest
import torch
from torch import Tensor

from search_space import Architecture, SearchSpace, SpaceSpec, build, resolve, trace
from search_space.variants import variant_names
from trainers.data.splits import Splits
from trainers.recipe import Recipe
from trainers.run import TrainingRun

BACKBONE = trace(resolve("resnet8", num_classes=7, input_size=(3, 8, 8), options={"width": 4}))
SPACE = SearchSpace(
    BACKBONE,
    SpaceSpec.model_validate(
        {
            "insertion": {"per": "layer", "choices": [True, False]},
            "variant": {"per": "layer", "choices": list(variant_names())},
            "position": {"per": "layer", "choices": ["standard", "pre", "post", "identity", "3x3"]},
            "ratio": [1, 2, 4],
        }
    ),
)
RECIPE = Recipe(batch_size=16, augment=("random_resized_crop", "flip", "cutout"), cutout_size=3)


@pytest.fixture
def architectures() -> list[Architecture]:
    """The backbone by itself, and with SE."""
    source = random.Random(3)
    drawn = (SPACE.sample(source) for _ in range(8))
    return [Architecture(BACKBONE.backbone), *(architecture for architecture in drawn if architecture.sites)]


def test_the_backbone_begins_with_the_same_weights(architectures: list[Architecture]) -> None:
    plain = build(architectures[0], seed=5).state_dict()
    other_seed = build(architectures[0], seed=6).state_dict()
    assert any(not torch.equal(plain[name], other_seed[name]) for name in plain)
    for architecture in architectures[1:]:
        with_se = build(architecture, seed=5).state_dict()
        for name, value in plain.items():
            assert torch.equal(with_se[name], value), (architecture, name)


def test_all_see_the_same_images_in_the_same_order(architectures: list[Architecture], splits: Splits) -> None:
    def seen(architecture: Architecture, seed: int = 5) -> Tensor:
        network, inputs = build(architecture, seed=seed), list[Tensor]()
        network.register_forward_pre_hook(lambda module, given: inputs.append(given[0].detach().clone()))
        run = TrainingRun(network, splits, RECIPE, epochs=2, seed=seed)
        run.train_epoch()
        run.train_epoch()
        return torch.cat(inputs)

    plain = seen(architectures[0])
    for architecture in architectures[1:]:
        assert torch.equal(seen(architecture), plain), architecture
    assert not torch.equal(seen(architectures[0], seed=6), plain)
