"""What a search space is made of, as data: the ``space`` section of a config.

Each of the six dimensions is a list of choices and a granularity. In YAML a single value is a fixed part, a list
is choices at the dimension's usual granularity, and ``{choices: [...], per: stage}`` says both. ``at`` has other
choices for some stages or sites: ``{choices: [4, 8], per: layer, at: {layer4: [16, 32]}}``.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from search_space.architecture import Excitation, Position, Squeeze
from search_space.constraints import Constraints
from search_space.site import RULES, Sites
from search_space.variants import FAMILIES, check_variant

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
    """Values to choose from, and how often the choice is made.

    ``at`` has other values for some places: a stage's number or name or, where the choice is made per layer, a site.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    choices: Annotated[tuple[T, ...], Field(min_length=1, strict=False)]
    per: Granularity
    at: dict[str, Annotated[tuple[T, ...], Field(min_length=1, strict=False)]] = {}

    @field_validator("choices")
    @classmethod
    def _without_repeats(cls, choices: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(dict.fromkeys(choices))

    @field_validator("at", mode="before")
    @classmethod
    def _expand_places(cls, at: Any) -> Any:
        if not isinstance(at, Mapping):
            return at
        return {str(place): _as_list(values) for place, values in at.items()}

    @field_validator("at")
    @classmethod
    def _without_repeats_anywhere(cls, at: dict[str, tuple[T, ...]]) -> dict[str, tuple[T, ...]]:
        return {place: tuple(dict.fromkeys(values)) for place, values in at.items()}

    @model_validator(mode="after")
    def _places_have_a_choice(self) -> Self:
        if self.at and self.per == "network":
            raise ValueError(f"a choice made once for the network has no places, so not at: {next(iter(self.at))}")
        return self


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _known_variant(name: str) -> str:
    check_variant(name)
    return name


VariantName = Annotated[str, AfterValidator(_known_variant)]
Ratio = Annotated[int, Field(ge=1)]


class SpaceSpec(BaseModel):
    """The choices of every dimension, and what holds for all architectures.

    Attributes:
        sites: where blocks can be: the sites that a rule finds (:mod:`search_space.sites`), or a list of names of
            sites and of patterns that match them.
        bias: whether the blocks' layers have biases.
        from_identity: whether blocks start as exact identities.
        constraints: what architectures may cost.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sites: Sites = "auto"
    insertion: Choice[bool] = Choice[bool](choices=(False, True), per="stage")
    variant: Choice[VariantName] = Choice[VariantName](choices=FAMILIES["se"], per="network")
    position: Choice[Position] = Choice[Position](choices=("standard", "pre", "post", "identity"), per="stage")
    ratio: Choice[Ratio] = Choice[Ratio](choices=(4, 8, 16), per="layer")
    squeeze: Choice[Squeeze] = Choice[Squeeze](choices=("avg",), per="network")
    excitation: Choice[Excitation] = Choice[Excitation](choices=("sigmoid",), per="network")
    bias: bool = False
    from_identity: bool = False
    constraints: Constraints = Constraints()

    def choice(self, dimension: Dimension) -> Choice[Any]:
        """The choices of a dimension."""
        choice: Choice[Any] = getattr(self, dimension)
        return choice

    @field_validator("sites", mode="before")
    @classmethod
    def _is_rule_or_names(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in RULES:
            listed = f"{', '.join(RULES)}, or a list of names of sites and of patterns such as [{value}]"
            raise ValueError(f"{value!r} is no rule that finds sites: write {listed}")
        if isinstance(value, list | tuple) and not (value and all(isinstance(name, str) and name for name in value)):
            raise ValueError(f"names of sites and patterns are a list of texts that is not empty, not {value!r}")
        return tuple(value) if isinstance(value, list) else value

    @field_validator(*DIMENSIONS, mode="before")
    @classmethod
    def _expand_short_forms(cls, value: Any, info: Any) -> Any:
        usual = USUAL_GRANULARITY[info.field_name]
        if isinstance(value, Choice):
            return value
        if isinstance(value, Mapping):
            return {"per": usual, **value}
        return {"choices": _as_list(value), "per": usual}
