"""Backbones by name: networks without SE of their own, ready to be traced.

A backbone is a plain :class:`torch.nn.Module` from images to logits. Adding one is one function that makes it,
and one line in the table below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import nn

from search_space.architecture import Backbone, Option
from search_space.backbones.cifar_resnet import DEPTHS, cifar_resnet
from search_space.backbones.cnn3 import cnn3
from search_space.backbones.torchvision_models import RESNETS, torchvision_model
from search_space.errors import InputError, unknown


@dataclass(frozen=True)
class Entry:
    """How to make a backbone: ``make(in_channels, num_classes, **options)``, and its options' defaults.

    ``usual_input`` is the image it was published for: channels, height, width.
    """

    make: Callable[..., nn.Module]
    usual_input: tuple[int, int, int] = (3, 224, 224)
    options: Mapping[str, Option] = field(default_factory=dict)


_SMALL_IMAGE = (3, 32, 32)

BACKBONES: dict[str, Entry] = {
    "cnn3": Entry(cnn3, _SMALL_IMAGE, {"width": 32, "second_conv": True}),
    **{f"resnet{depth}": Entry(partial(cifar_resnet, depth), _SMALL_IMAGE, {"width": 16}) for depth in DEPTHS},
    **{name: Entry(partial(torchvision_model, name)) for name in RESNETS},
}


def resolve(
    name: str,
    *,
    num_classes: int,
    input_size: tuple[int, int, int],
    options: Mapping[str, Option] | None = None,
) -> Backbone:
    """The backbone of that name, its options checked and completed with their defaults.

    Args:
        input_size: channels, height and width of one image.

    Raises:
        InputError: the name or an option is unknown, or something has the wrong type or size.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    if num_classes < 1:
        raise InputError(f"a network needs at least one class, not {num_classes}")
    if len(input_size) != 3 or min(input_size) < 1:
        raise InputError(f"images have (channels, height, width), all at least 1, not {input_size}")
    defaults = BACKBONES[name].options
    for key, value in (options or {}).items():
        if key not in defaults:
            if not defaults:
                raise InputError(f"backbone {name} takes no options, so not '{key}'")
            raise unknown(f"option of backbone {name}", key, defaults)
        _check_option(name, key, value, defaults[key])
    complete = {**defaults, **(options or {})}
    return Backbone(name, num_classes, (input_size[0], input_size[1], input_size[2]), tuple(sorted(complete.items())))


def instantiate(backbone: Backbone) -> nn.Module:
    """The backbone's module, with weights freshly drawn from torch's global generator.

    Raises:
        InputError: the backbone or an option is unknown, or the input has channels it cannot take.
    """
    channels, *_ = backbone.input_size
    options = dict(backbone.options)
    complete = resolve(backbone.name, num_classes=backbone.num_classes, input_size=backbone.input_size, options=options)
    for key, default in complete.options:
        if key not in options:
            raise InputError(f"backbone {backbone.name} lacks the option {key}, which is usually {default}")
    return BACKBONES[backbone.name].make(channels, backbone.num_classes, **options)


def _check_option(name: str, key: str, value: object, default: Option) -> None:
    if type(value) is not type(default):
        raise InputError(f"backbone option {key} of {name} must be {_kind(default)} such as {default}, not {value!r}")
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        raise InputError(f"backbone option {key} of {name} must be at least 1, not {value}")


def _kind(value: Option) -> str:
    return {bool: "true or false", int: "an integer", float: "a number", str: "a text"}[type(value)]
