from collections.abc import Callable

import pytest
import torch
from torch import nn

from trainers.data.images import ImageSet
from trainers.data.splits import Splits

CHANNELS, SIZE, CLASSES = 3, 8, 7


def random_images(count: int, seed: int) -> ImageSet:
    """Images whose brightness gives their class away, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    noise = torch.randint(0, 40, (count, CHANNELS, SIZE, SIZE), generator=generator)
    return ImageSet((noise + 30 * labels[:, None, None, None]).to(torch.uint8), labels, CLASSES)


@pytest.fixture
def splits() -> Splits:
    return Splits(train=random_images(90, seed=1), held_out=random_images(33, seed=2))


@pytest.fixture
def make_model() -> Callable[..., nn.Module]:
    def make(seed: int = 0, width: int = 8, dropout: float = 0.2) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(CHANNELS, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(width, CLASSES),
        )

    return make
