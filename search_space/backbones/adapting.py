"""Changes to ready-made networks: for small images, for images of other channels, and without the SE they came with."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from search_space.backbones.entry import Entry
from search_space.errors import InputError

STEMS = ("imagenet", "cifar")
OWN_SE = ("keep", "strip")

_DEEPEST_STEM = 3
"""Convolutions in the deepest stems: three of 3x3 in the place of one of 7x7."""

_SE_CLASSES = {"SqueezeExcitation", "SqueezeExcite", "SEModule", "EffectiveSEModule", "SEBlock"}
"""The SE blocks of torchvision and timm by the names of their classes."""


def adaptable(entry: Entry, *, stem: bool = True, own_se: bool = False) -> Entry:
    """An entry with the options that ready-made networks share.

    ``stem: cifar`` makes the first convolution 3x3 of stride 1 and leaves the pooling after it out. ``se: strip``
    takes out the SE blocks that the network was published with.
    """
    choices = ({"stem": STEMS} if stem else {}) | ({"se": OWN_SE} if own_se else {})
    defaults = {name: values[0] for name, values in choices.items()}
    return replace(
        entry, make=_adapting(entry.make), options={**entry.options, **defaults}, choices={**entry.choices, **choices}
    )


def _adapting(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def adapted(
        in_channels: int, num_classes: int, *, stem: str = "imagenet", se: str = "keep", **options: Any
    ) -> nn.Module:
        module = make(in_channels, num_classes, **options)
        if stem == "cifar":
            use_small_stem(module)
        if se == "strip":
            strip_se(module)
        return module

    return adapted


def use_small_stem(module: nn.Module) -> None:
    """Makes the first convolution 3x3 with stride 1, and the pooling between the stem and what follows an identity.

    Raises:
        InputError: the first convolution is like that already and no pooling follows it, or is one of a special kind.
    """
    names = [name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    first = module.get_submodule(names[0])
    if type(first) is not nn.Conv2d:
        raise InputError(f"its first convolution is a {type(first).__name__}, which stem: cifar cannot replace")
    pools = _pools_after_the_stem(module, names)
    if max(first.stride) == 1 and not pools:
        raise InputError("its stem is made for small images already, so stem: cifar changes nothing; leave it out")
    _put(module, names[0], _like(first, first.in_channels, kernel_size=3, stride=1, padding=1))
    for pool in pools:
        _put(module, pool, nn.Identity())


def use_channels(module: nn.Module, in_channels: int) -> None:
    """Makes the first convolution take images of so many channels."""
    name = next(name for name, part in module.named_modules() if isinstance(part, nn.Conv2d))
    first = module.get_submodule(name)
    assert isinstance(first, nn.Conv2d)
    if first.in_channels != in_channels:
        sizes = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
        _put(module, name, _like(first, in_channels, **sizes))


def strip_se(module: nn.Module) -> None:
    """Puts an identity in the place of every SE block.

    Raises:
        InputError: there is none.
    """
    found = se_blocks(module)
    if not found:
        raise InputError("it has no SE blocks of its own to strip: leave se: strip out")
    for name in found:
        _put(module, name, nn.Identity())


def se_blocks(module: nn.Module) -> list[str]:
    """The paths of the SE blocks that a network was published with."""
    return [name for name, part in module.named_modules() if type(part).__name__ in _SE_CLASSES]


def _pools_after_the_stem(module: nn.Module, convolutions: list[str]) -> list[str]:
    """The pooling before the first convolution that is not the stem's.

    The stem is the first convolution, or up to three that are in one part of the network by themselves.
    """
    root = convolutions[0].partition(".")[0]
    stem = [name for name in convolutions if name.partition(".")[0] == root]
    after = convolutions[len(stem) if len(stem) <= _DEEPEST_STEM else 1 :]
    pools: list[str] = []
    for name, part in module.named_modules():
        if name in after:
            break
        if isinstance(part, nn.MaxPool2d | nn.AvgPool2d):
            pools.append(name)
    return pools


def _like(conv: nn.Conv2d, in_channels: int, **sizes: Any) -> nn.Conv2d:
    made = nn.Conv2d(in_channels, conv.out_channels, bias=conv.bias is not None, **sizes)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def _put(module: nn.Module, path: str, part: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, part)
