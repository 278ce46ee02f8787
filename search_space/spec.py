"""What a search space is made of, as data: the ``space`` section of a config.

Each of the six dimensions is a list of choices and a granularity. In YAML a single value is a fixed part, a list
is choices at the dimension's usual granularity, and ``{choices: [...], per: stage}`` says both.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from search_space.architecture import Excitation, Position, Squeeze
from search_space.errors import unknown
from search_space.variants import VARIANTS

Granularity = Literal["network", "stage", "layer"]
Dimension = Literal["insertion", "variant", "position", "ratio", "squeeze", "excitation"]

DIMENSIONS: tuple[Dimension, ...] = ("insertion", "variant", "position", "ratio", "squeeze", "excitation")

USUAL_GRANULARITY: dict[Dimension, Granularity] = {
    "insertion": "stage",
    "variant": "network",
    "position": "stage",
    "ratio": "layer",
    "squeeze": "network",
    "excitation": "network",
}

T = TypeVar("T")


class Choice(BaseModel, Generic[T]):
    """Values to choose from, and how often the choice is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    choices: Annotated[tuple[T, ...], Field(min_length=1, strict=False)]
    per: Granularity

    @field_validator("choices")
    @classmethod
    def _without_repeats(cls, choices: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(dict.fromkeys(choices))


def _known_variant(name: str) -> str:
    if name not in VARIANTS:
        raise unknown("SE variant", name, VARIANTS)
    return name


VariantName = Annotated[str, AfterValidator(_known_variant)]
Ratio = Annotated[int, Field(ge=1)]


class SpaceSpec(BaseModel):
    """The choices of every dimension; ``bias`` says whether the SE layers have biases."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    insertion: Choice[bool] = Choice[bool](choices=(False, True), per="stage")
    variant: Choice[VariantName] = Choice[VariantName](choices=tuple(VARIANTS), per="network")
    position: Choice[Position] = Choice[Position](choices=("standard", "pre", "post", "identity"), per="stage")
    ratio: Choice[Ratio] = Choice[Ratio](choices=(4, 8, 16), per="layer")
    squeeze: Choice[Squeeze] = Choice[Squeeze](choices=("avg",), per="network")
    excitation: Choice[Excitation] = Choice[Excitation](choices=("sigmoid",), per="network")
    bias: bool = False

    def choice(self, dimension: Dimension) -> Choice[Any]:
        """The choices of a dimension."""
        choice: Choice[Any] = getattr(self, dimension)
        return choice

    @field_validator(*DIMENSIONS, mode="before")
    @classmethod
    def _expand_short_forms(cls, value: Any, info: Any) -> Any:
        usual = USUAL_GRANULARITY[info.field_name]
        if isinstance(value, Choice):
            return value
        if isinstance(value, Mapping):
            return {"per": usual, **value}
        return {"choices": value if isinstance(value, list | tuple) else [value], "per": usual}
