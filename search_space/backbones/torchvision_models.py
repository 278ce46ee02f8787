"""torchvision's classification models by their own names, as torchvision builds them, without auxiliary heads."""

from functools import cache, partial
from typing import Any

from torch import nn

from search_space.architecture import Option
from search_space.backbones.adapting import adaptable, use_channels
from search_space.backbones.entry import Entry
from search_space.backbones.model_options import ModelOptions

_WITHOUT_AUXILIARY_HEADS = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}

_RESERVED = {
    "num_classes": "it follows from the data",
    "weights": "weights are named by backbone.weights",
    **dict.fromkeys(("aux_logits", "init_weights", "progress"), "senas sets it itself"),
}

_WITH_SE = ("efficientnet", "mobilenet_v3", "regnet_y")

_WITHOUT_LARGE_STEM = ("vgg",)


@cache
def torchvision_names() -> tuple[str, ...]:
    """The classification models that this torchvision has."""
    from torchvision import models

    return tuple(models.list_models(module=models))


@cache
def torchvision_entry(name: str) -> Entry:
    """How to make one of them, for images of the size that its first weights were published for."""
    from torchvision.models import get_model_weights

    first = next(iter(get_model_weights(name)))
    size = first.transforms.keywords["crop_size"]
    make = partial(_make, name)
    return adaptable(
        Entry(make, (3, size, size), model_options=ModelOptions(name, make, _RESERVED)),
        stem=not name.startswith(_WITHOUT_LARGE_STEM),
        own_se=name.startswith(_WITH_SE),
    )


def _make(name: str, in_channels: int, num_classes: int, **options: Option) -> nn.Module:
    from torchvision.models import get_model

    given: dict[str, Any] = _WITHOUT_AUXILIARY_HEADS.get(name, {}) | options
    model: nn.Module = get_model(name, weights=None, num_classes=num_classes, **given)
    use_channels(model, in_channels)
    return model
