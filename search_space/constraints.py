"""Bounds on what an architecture may cost: the ``constraints`` of a space."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from search_space.costs import Cost

Quantity = Literal["flops", "params", "memory", "flops_overhead", "params_overhead"]


class Bounds(BaseModel):
    """The least and the most that something may be; None is no bound."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    min: Annotated[float, Field(ge=0)] | None = None
    max: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"the minimum {self.min:g} is above the maximum {self.max:g}")
        return self

    def __contains__(self, value: float) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class Constraints(BaseModel):
    """What an architecture of the space has to keep to.

    Attributes:
        flops: multiply-adds for one image.
        params: learnable parameters.
        memory: bytes of maps alive at the worst moment of a forward pass of one image.
        flops_overhead: FLOPs of the SE blocks as a fraction of the backbone's: 0.01 is one percent.
        params_overhead: the same of the parameters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    flops: Bounds = Bounds()
    params: Bounds = Bounds()
    memory: Bounds = Bounds()
    flops_overhead: Bounds = Bounds()
    params_overhead: Bounds = Bounds()

    def __bool__(self) -> bool:
        return self != Constraints()

    def violations(self, cost: Cost) -> Iterator[str]:
        """What a cost does not keep to, each as a phrase: ``flops 4102737920 is above the maximum 4100000000``."""
        for quantity, value in quantities(cost).items():
            bounds: Bounds = getattr(self, quantity)
            if bounds.min is not None and value < bounds.min:
                yield f"{quantity} {value:.12g} is below the minimum {bounds.min:.12g}"
            if bounds.max is not None and value > bounds.max:
                yield f"{quantity} {value:.12g} is above the maximum {bounds.max:.12g}"

    def excesses(self, cost: Cost) -> dict[str, float]:
        """By how much a cost is beyond each bound, as a fraction of the bound: above 0 exactly where it is broken.

        ``flops max`` is 0.1 where FLOPs are a tenth above their maximum and -0.1 where they are a tenth below it. Of
        a bound that is 0, it is a fraction of the value.
        """
        excesses = {}
        for quantity, value in quantities(cost).items():
            bounds: Bounds = getattr(self, quantity)
            if bounds.min is not None:
                excesses[f"{quantity} min"] = (bounds.min - value) / (bounds.min or value or 1)
            if bounds.max is not None:
                excesses[f"{quantity} max"] = (value - bounds.max) / (bounds.max or value or 1)
        return excesses


def quantities(cost: Cost) -> dict[Quantity, float]:
    """What constraints are about, read off a cost."""
    return {
        "flops": cost.flops,
        "params": cost.params,
        "memory": cost.memory,
        "flops_overhead": cost.se_flops / (cost.flops - cost.se_flops),
        "params_overhead": cost.se_params / (cost.params - cost.se_params),
    }
