"""torchvision's classification models by their own names, as torchvision builds them, without auxiliary heads."""

from functools import cache, partial
from typing import Any

from torch import nn

from search_space.backbones.adapting import adaptable, use_channels
from search_space.backbones.entry import Entry

_WITHOUT_AUXILIARY_HEADS = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
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
    return adaptable(
        Entry(partial(_make, name), (3, size, size)),
        stem=not name.startswith(_WITHOUT_LARGE_STEM),
        own_se=name.startswith(_WITH_SE),
    )


def _make(name: str, in_channels: int, num_classes: int) -> nn.Module:
    from torchvision.models import get_model

    options: dict[str, Any] = _WITHOUT_AUXILIARY_HEADS.get(name, {})
    model: nn.Module = get_model(name, weights=None, num_classes=num_classes, **options)
    use_channels(model, in_channels)
    return model
