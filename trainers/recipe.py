"""How a network is trained, as data; nothing here imports torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

OptimizerName = Literal["sgd", "adamw", "adadelta"]
ScheduleName = Literal["constant", "cosine", "step"]
Precision = Literal["fp32", "bf16"]
AugmentationName = Literal["crop", "flip"]

_USUAL_LR: dict[str, float] = {"sgd": 0.1, "adamw": 1e-3, "adadelta": 1.0}


def _usual_lr(validated: dict[str, Any]) -> float:
    return _USUAL_LR[validated.get("optimizer", "sgd")]


class Recipe(BaseModel):
    """The hyperparameters of training, apart from its length and its seed.

    Types are strict: a number in quotes is an error, an unknown key too. Left out, ``lr`` is the
    optimizer's usual one: 0.1 for sgd, 0.001 for adamw, 1 for adadelta. ``momentum`` and ``nesterov`` are SGD's;
    ``step_epochs`` and ``decay`` are the step schedule's; ``crop_padding`` is the crop's, in pixels.

    The step schedule of "Squeeze-and-Excitation Networks" (arXiv 1709.01507) is the default ``step_epochs`` and
    ``decay``. The three-layer CNN of "Variations of Squeeze and Excitation networks" (arXiv 2304.06502), which
    trains for 50 epochs, is

    >>> recipe = Recipe(optimizer="adadelta", lr=1.0, schedule="step", step_epochs=1, decay=0.7, batch_size=64)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    optimizer: OptimizerName = "sgd"
    lr: float = Field(default_factory=_usual_lr, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: ScheduleName = "cosine"
    step_epochs: int = Field(default=30, ge=1)
    decay: float = Field(default=0.1, gt=0, le=1)
    warmup_epochs: int = Field(default=0, ge=0)
    batch_size: int = Field(default=128, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    precision: Precision = "fp32"
    channels_last: bool = False
    # Strictness would turn away the list that YAML and JSON have for a tuple; the names stay exact.
    augment: Annotated[tuple[AugmentationName, ...], Field(strict=False)] = ()
    crop_padding: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs optimizer sgd and a momentum above 0")
        return self
