"""What is known of a backbone by name: how to make it, and what can be set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from search_space.architecture import Option, Shape
from search_space.backbones.model_options import ModelOptions


@dataclass(frozen=True)
class Entry:
    """How to make a backbone.

    Attributes:
        make: ``make(in_channels, num_classes, **options)``.
        usual_input: the image it was published for: channels, height, width.
        options: their defaults, by name.
        choices: the values of those options that have but a few.
        model_options: further options, which are left out of a backbone where they have their usual values.
    """

    make: Callable[..., nn.Module]
    usual_input: Shape = (3, 224, 224)
    options: Mapping[str, Option] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model_options: ModelOptions | None = None
