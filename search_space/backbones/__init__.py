"""Backbones by name: networks without SE of senas, ready to be traced.

A backbone is a plain :class:`torch.nn.Module` from images to logits. The table below has those that are written here;
adding one is one function that makes it, and one line. Beside them: every classification model of torchvision by its
name, timm's as ``timm:NAME``, and one's own by import path, ``package.module:Class``.
"""

from collections.abc import Mapping
from functools import partial

from torch import nn

from search_space.architecture import Backbone, Option, Shape
from search_space.backbones.adapting import adaptable
from search_space.backbones.bn_inception import bn_inception
from search_space.backbones.cifar_resnet import DEPTHS, cifar_resnet
from search_space.backbones.cnn3 import cnn3
from search_space.backbones.entry import Entry
from search_space.backbones.inception_resnet_v2 import inception_resnet_v2
from search_space.backbones.meta import WeightsOnMeta
from search_space.backbones.mobilenet_v1 import mobilenet_v1
from search_space.backbones.own_modules import own_entry
from search_space.backbones.preact_resnet import DEPTHS as PREACT_DEPTHS
from search_space.backbones.preact_resnet import preact_resnet
from search_space.backbones.resnet_v1 import DEPTHS as V1_DEPTHS
from search_space.backbones.resnet_v1 import resnet_v1, resnext101_32x4d
from search_space.backbones.senet154 import senet154
from search_space.backbones.shake_shake import shake_shake
from search_space.backbones.shufflenet_v1 import shufflenet_v1
from search_space.backbones.timm_models import PREFIX as TIMM
from search_space.backbones.timm_models import timm_entry
from search_space.backbones.torchvision_models import torchvision_entry, torchvision_names
from search_space.backbones.wide_resnet import wide_resnet
from search_space.errors import InputError, first_line, unknown
from search_space.import_paths import is_import_path

_SMALL = (3, 32, 32)

BACKBONES: dict[str, Entry] = {
    "cnn3": Entry(cnn3, _SMALL, {"width": 32, "second_conv": True}),
    **{f"resnet{depth}": Entry(partial(cifar_resnet, depth), _SMALL, {"width": 16}) for depth in DEPTHS},
    **{f"preact_resnet{d}": Entry(partial(preact_resnet, d), _SMALL, {"width": 16}) for d in PREACT_DEPTHS},
    "wide_resnet": Entry(wide_resnet, _SMALL, {"depth": 16, "widen": 8, "dropout": 0.0}),
    "shake_shake": Entry(shake_shake, _SMALL, {"depth": 26, "width": 96}),
    **{f"resnet{depth}_v1": adaptable(Entry(partial(resnet_v1, depth))) for depth in V1_DEPTHS},
    "resnext101_32x4d": adaptable(Entry(resnext101_32x4d)),
    "bn_inception": adaptable(Entry(bn_inception)),
    "inception_resnet_v2": adaptable(Entry(inception_resnet_v2, (3, 299, 299), {"padded_stem": True})),
    "mobilenet_v1": adaptable(Entry(mobilenet_v1, options={"width": 1.0})),
    "shufflenet_v1": adaptable(Entry(shufflenet_v1, options={"groups": 3, "width": 1.0})),
    "senet154": Entry(senet154, options={"stem": "imagenet"}, choices={"stem": ("imagenet", "cifar")}),
}
"""The backbones that are written here."""


def backbone_names() -> tuple[str, ...]:
    """The backbones that can be named without a prefix or an import path."""
    return tuple(dict.fromkeys((*BACKBONES, *torchvision_names())))


def entry(name: str) -> Entry:
    """How to make the backbone of that name.

    Raises:
        InputError: there is none, or it cannot be imported.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith(TIMM):
        return timm_entry(name)
    if is_import_path(name):
        return own_entry(name)
    if name in torchvision_names():
        return torchvision_entry(name)
    raise unknown("backbone", name, backbone_names())


def resolve(
    name: str,
    *,
    num_classes: int,
    input_size: Shape,
    options: Mapping[str, Option] | None = None,
) -> Backbone:
    """The backbone of that name, its options checked and completed with their defaults.

    Args:
        input_size: channels, height and width of one image.

    Raises:
        InputError: the name or an option is unknown, or something has the wrong type or size.
    """
    found = entry(name)
    if num_classes < 1:
        raise InputError(f"a network needs at least one class, not {num_classes}")
    if len(input_size) != 3 or min(input_size) < 1:
        raise InputError(f"images have (channels, height, width), all at least 1, not {input_size}")
    given = dict(options or {})
    complete = dict(found.options)
    if found.model_options is not None and (of_the_model := {k: v for k, v in given.items() if k not in complete}):
        complete |= found.model_options.canonical(of_the_model, found.options)
        given = {key: value for key, value in given.items() if key not in of_the_model}
    for key, value in given.items():
        if key not in found.options:
            if not found.options:
                raise InputError(f"backbone {name} takes no options, so not '{key}'")
            raise unknown(f"option of backbone {name}", key, found.options)
        _check_option(name, key, value, found)
        complete[key] = type(found.options[key])(value)
    return Backbone(name, num_classes, (input_size[0], input_size[1], input_size[2]), tuple(sorted(complete.items())))


def instantiate(backbone: Backbone) -> nn.Module:
    """The backbone's module, with weights freshly drawn from torch's global generator.

    Raises:
        InputError: the backbone or an option is unknown, or it cannot be made with these options.
    """
    channels, *_ = backbone.input_size
    options = dict(backbone.options)
    complete = resolve(backbone.name, num_classes=backbone.num_classes, input_size=backbone.input_size, options=options)
    for key, default in complete.options:
        if key not in options:
            raise InputError(f"backbone {backbone.name} lacks the option {key}, which is usually {default}")
    try:
        return entry(backbone.name).make(channels, backbone.num_classes, **options)
    except Exception as error:
        raise InputError(f"backbone {backbone.name} cannot be made: {first_line(error)}") from error


def instantiate_without_weights(backbone: Backbone) -> nn.Module:
    """The backbone's module on the meta device: shapes without memory.

    Raises:
        InputError: the backbone or an option is unknown, or it cannot be made with these options.
    """
    with WeightsOnMeta():
        return instantiate(backbone).to("meta")


def _check_option(name: str, key: str, value: object, found: Entry) -> None:
    default = found.options[key]
    if key in found.choices:
        if value not in found.choices[key]:
            raise unknown(f"value of the option {key} of backbone {name}", value, found.choices[key])
        return
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return
    if type(value) is not type(default):
        raise InputError(f"backbone option {key} of {name} must be {_kind(default)} such as {default}, not {value!r}")
    if isinstance(value, int) and not isinstance(value, bool) and value < min(1, int(default)):
        raise InputError(f"backbone option {key} of {name} must be at least {min(1, int(default))}, not {value}")


def _kind(value: Option) -> str:
    return {bool: "true or false", int: "an integer", float: "a number", str: "a text"}[type(value)]
