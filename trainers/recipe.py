"""How a network is trained, as data; nothing here imports torch."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, model_validator

OptimizerName = Literal["sgd", "adamw", "adadelta"]
ScheduleName = Literal["constant", "cosine", "step", "one_cycle", "plateau"]
Precision = Literal["fp32", "bf16"]
AugmentationName = Literal["crop", "random_resized_crop", "flip", "cutout"]
Fraction = Annotated[float, Field(gt=0, le=1)]

# What each is for. Older keys (decay, crop_padding) are not among them: stored studies may have them to no effect.
_USER_OF: dict[str, ScheduleName | AugmentationName] = {
    "milestones": "step",
    "rise": "one_cycle",
    "patience": "plateau",
    "crop_scale": "random_resized_crop",
    "cutout_size": "cutout",
}

_USUAL_LR: dict[str, float] = {"sgd": 0.1, "adamw": 1e-3, "adadelta": 1.0}


def _usual_lr(validated: dict[str, Any]) -> float:
    return _USUAL_LR[validated.get("optimizer", "sgd")]


_LEAST_WEIGHT, _MOST_WEIGHT = 1e-6, 1e6


def _class_weights(given: Any) -> Any:
    """Return checked class weights, with their numbers as floats."""
    if given is None or given == "balanced":
        return given
    if isinstance(given, Mapping):
        if not given:
            raise ValueError("no class is named: leave class_weights out, or set it to null")
        unquoted = [name for name in given if not isinstance(name, str)]
        if unquoted:
            raise ValueError(f"{unquoted[0]!r} is not the name of a class: write it in quotes, '{unquoted[0]}'")
        return {name: _weight(weight, f" of class '{name}'") for name, weight in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return tuple(_weight(weight) for weight in given)
    raise ValueError(f"must be balanced, a list of one weight for each class, or weights by class name, not {given!r}")


def _weight(given: Any, of: str = "") -> float:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not _LEAST_WEIGHT <= given <= _MOST_WEIGHT:
        raise ValueError(f"the weight{of} must be a number from {_LEAST_WEIGHT:g} to {_MOST_WEIGHT:g}, not {given!r}")
    return float(given)


# Pydantic's serializer for a union warns of a tuple in it.
_AS_THEY_ARE = PlainSerializer(lambda weights: weights, return_type=Any)

ClassWeights = Literal["balanced"] | tuple[float, ...] | dict[str, float] | None


class Recipe(BaseModel):
    """The hyperparameters of training, apart from its seed.

    Types are strict: a number in quotes is an error, an unknown key too. So is a key that has no effect with the others
    where one might believe that it has.

    Args:
        optimizer: ``momentum`` and ``nesterov`` are SGD's.
        lr: the highest learning rate. Left out, the optimizer's usual one: 0.1 for sgd, 0.001 for adamw, 1 for
            adadelta.
        decay_norm_and_bias: whether weight decay also goes for what has one dimension or none: the scales and shifts
            of normalisation, and biases.
        schedule: the learning rate over the epochs after the warm-up. ``step`` multiplies it by ``decay`` every
            ``step_epochs``, or instead at the ``milestones``; ``one_cycle`` rises over the fraction ``rise`` of all
            steps and falls again; ``plateau`` multiplies it by ``decay`` when the training loss has not fallen for
            more than ``patience`` epochs.
        milestones: numbers of epochs done, the warm-up's included.
        warmup_epochs: epochs over which the learning rate rises linearly.
        epochs: the length that the recipe is meant for, if one is not given where it is used.
        class_weights: weight of each class in the training loss: ``balanced`` for weights in inverse proportion to the
            number of its training images, a number for each class in the order of labels, or numbers by class name,
            1 for the classes that are not named. The loss that scores is never weighted.
        clip_norm: scale gradients down to this norm over all parameters where theirs is greater.
        ema_decay: score and keep an exponential moving average of the weights, of this decay a step.
        precision: bf16 computes in it where autocast finds that it can; weights stay fp32.
        compile: have torch.compile make kernels for the network: minutes at its start, for faster steps.
        augment: in this order. ``crop`` pads by ``crop_padding`` pixels and cuts the image's size out again;
            ``random_resized_crop`` scales a window of a share of the image in ``crop_scale`` up to its size;
            ``cutout`` blackens a square of ``cutout_size`` pixels a side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    optimizer: OptimizerName = "sgd"
    lr: float = Field(default_factory=_usual_lr, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=5e-4, ge=0)
    decay_norm_and_bias: bool = True
    schedule: ScheduleName = "cosine"
    step_epochs: int = Field(default=30, ge=1)
    # Strictness would turn away the list that YAML and JSON have for a tuple; what is in it stays exact.
    milestones: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = ()
    decay: float = Field(default=0.1, gt=0, le=1)
    rise: float = Field(default=0.3, gt=0, lt=1)
    patience: int = Field(default=5, ge=1)
    warmup_epochs: int = Field(default=0, ge=0)
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Annotated[ClassWeights, PlainValidator(_class_weights), _AS_THEY_ARE] = None
    clip_norm: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    augment: Annotated[tuple[AugmentationName, ...], Field(strict=False)] = ()
    crop_padding: int = Field(default=4, ge=1)
    crop_scale: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.08, 1.0)
    cutout_size: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _each_augmentation_once(self) -> Self:
        if len(set(self.augment)) < len(self.augment):
            raise ValueError(f"augment has {', '.join(self.augment)}: each may be there once")
        return self

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs optimizer sgd and a momentum above 0")
        return self

    @model_validator(mode="after")
    def _nothing_is_without_effect(self) -> Self:
        used = {self.schedule, *self.augment}
        for key, user in _USER_OF.items():
            usual = type(self).model_fields[key].default
            if user not in used and getattr(self, key) != usual:
                what = "schedule" if user in get_args(ScheduleName) else "augment"
                back = "[]" if usual == () else usual
                raise ValueError(f"{key} has no effect without {what} {user}: leave it out, or set it back to {back}")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.schedule == "one_cycle" and self.warmup_epochs > 0:
            raise ValueError("one_cycle rises by itself: leave warmup_epochs out, or set it back to 0, and see rise")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise, which {', '.join(map(str, self.milestones))} do not")
        if self.milestones and self.milestones[0] < self.warmup_epochs:
            raise ValueError(f"milestone {self.milestones[0]} is within the warm-up of {self.warmup_epochs} epochs")
        if self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError(f"crop_scale must rise, which {self.crop_scale[0]}, {self.crop_scale[1]} does not")
        if {"crop", "random_resized_crop"} <= set(self.augment):
            raise ValueError("augment has both crop and random_resized_crop: leave one out")
        return self
