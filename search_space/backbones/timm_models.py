"""timm's models as ``timm:NAME``, where timm is installed (the extra ``senas[timm]``)."""

from functools import cache, partial
from typing import Any

from torch import nn

from search_space.backbones.adapting import adaptable
from search_space.backbones.entry import Entry
from search_space.errors import InputError, unknown

PREFIX = "timm:"


@cache
def timm_entry(name: str) -> Entry:
    """How to make ``timm:NAME``.

    Raises:
        InputError: timm is not installed, or has no such model.
    """
    timm = _timm(name)
    model = name.removeprefix(PREFIX)
    if not timm.is_model(model):
        raise unknown("timm model", model, timm.list_models(f"*{model[:4]}*") or timm.list_modules())
    size = timm.get_pretrained_cfg(model)
    usual = (3, 224, 224) if size is None else tuple(size.input_size)
    channels, height, width = usual
    return adaptable(Entry(partial(_make, model), (channels, height, width)), own_se=True)


def _make(name: str, in_channels: int, num_classes: int) -> nn.Module:
    model: nn.Module = _timm(name).create_model(name, pretrained=False, in_chans=in_channels, num_classes=num_classes)
    return model


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(f"backbone {name} needs timm: pip install 'senas[timm]'") from error
    return timm
