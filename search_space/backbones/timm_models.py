"""timm's models as ``timm:NAME``, where timm is installed (the extra ``senas[timm]``)."""

import logging
import re
from functools import cache, partial
from typing import Any

from torch import nn

from search_space.architecture import Option
from search_space.backbones.adapting import adaptable
from search_space.backbones.entry import Entry
from search_space.backbones.model_options import ModelOptions
from search_space.errors import InputError, unknown

PREFIX = "timm:"


_SOURCE = re.compile(r"(hf[-_]hub|local-dir):", re.IGNORECASE)
_WEIGHTS = "weights are named by backbone.weights"
_CLASSIFIER = "senas searches classifiers; results.load(DIR, features=True) gives the features of an export"
_BY_SENAS = "senas sets it itself"
_RESERVED = {
    "num_classes": "it follows from the data",
    "in_chans": "it follows from the data",
    **dict.fromkeys(
        ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"), _WEIGHTS
    ),
    **dict.fromkeys(("features_only", "out_indices", "feature_cls", "feature_cfg"), _CLASSIFIER),
    **dict.fromkeys(("scriptable", "exportable", "no_jit", "device", "dtype", "cfg"), _BY_SENAS),
}

log = logging.getLogger(__name__)


@cache
def timm_entry(name: str) -> Entry:
    """How to make ``timm:NAME``.

    A tag of pretrained weights in the name, as in ``resnet50.a1_in1k``, is accepted with a warning.

    Raises:
        InputError: timm is not installed, or has no such model or tag.
    """
    timm = _timm(name)
    model = name.removeprefix(PREFIX)
    if _SOURCE.match(model):
        raise InputError(
            f"backbone {name} would be fetched from elsewhere: name a model of timm's own, and give its weights as a "
            "file by backbone.weights"
        )
    architecture, _, tag = model.partition(".")
    if architecture not in timm.list_models() and not timm.is_model(architecture):
        raise unknown("timm model", model, timm.list_models())
    if tag:
        _check_tag(timm, name, architecture, tag)
    size = timm.get_pretrained_cfg(model)
    usual = (3, 224, 224) if size is None else tuple(size.input_size)
    channels, height, width = usual
    make = partial(_make, model)
    return adaptable(
        Entry(make, (channels, height, width), model_options=ModelOptions(name, make, _RESERVED)), own_se=True
    )


def _check_tag(timm: Any, name: str, architecture: str, tag: str) -> None:
    tags = [found.partition(".")[2] for found in timm.list_models(f"{architecture}.*", include_tags=True)]
    if tag not in tags:
        raise unknown(f"tag of timm model {architecture}", tag, tags)
    log.warning(
        "backbone %s: the tag %s names pretrained weights, which are not fetched; name a file by backbone.weights to "
        "begin with them",
        name,
        tag,
    )


def _make(name: str, in_channels: int, num_classes: int, **options: Option) -> nn.Module:
    model: nn.Module = _timm(name).create_model(
        name, pretrained=False, in_chans=in_channels, num_classes=num_classes, **options
    )
    return model


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(f"backbone {name} needs timm: pip install 'senas[timm]'") from error
    return timm
