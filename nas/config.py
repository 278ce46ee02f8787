"""A search as data: one YAML file, checked as a whole before anything starts. Nothing here imports torch or ray."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nas.objectives import KNOWN, REPLACEABLE, Direction, Objective
from results.study_names import check_study_name
from search_space.architecture import Option
from search_space.errors import InputError, unknown
from search_space.import_paths import is_import_path
from search_space.site import recorded_sites
from search_space.spec import SpaceSpec
from search_space.weights import Channels, Weights, names_a_file
from search_space.yaml_text import parse_yaml
from trainers.data.config import DataConfig
from trainers.recipe import Recipe
from trainers.recipes import recipe_values, stretched
from trainers.schedule import check_length
from trainers.settings import explain, read_mapping

SamplerName = Literal["tpe", "nsga2", "nsga3", "gp", "random", "exhaustive", "evolution"]


class Section(BaseModel):
    """A part of the configuration: immutable, strictly typed, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BackboneConfig(Section):
    """Which network is to receive SE; its classes and its input follow from the data.

    ``weights`` are loaded into it before training: a file, or the name of one of torchvision's weights for it.
    ``weights_channels`` says whether weights for RGB are adapted to images of other channels.
    """

    name: str
    options: dict[str, Option] = {}
    weights: str | None = None
    weights_channels: Channels = "exact"

    @field_validator("weights")
    @classmethod
    def _the_same_file_wherever_it_is_read(cls, weights: str | None) -> str | None:
        is_file = weights is not None and names_a_file(weights)
        return str(Path(weights).expanduser().absolute()) if weights is not None and is_file else weights

    @property
    def named(self) -> Self:
        """The same with the name of a weights file for its path, because a file may be moved."""
        given = self.to_load
        file = None if given is None else given.file
        return self if file is None else self.model_copy(update={"weights": file.name})

    @property
    def to_load(self) -> Weights | None:
        """What is loaded before training, if anything is."""
        return None if self.weights is None else Weights(self.weights, self.weights_channels)


_NAMES_IN_USE = ("epoch", "train_loss", "top1", "architecture", "architecture_id", "baseline", "costs")
"""What the curve of a trial and the study DB call other things."""


class ObjectiveConfig(Section):
    """An objective: one that comes along, by its name alone, or one's own.

    ``measure`` is the import path of a function of (logits, labels) of the validation images, called after every
    epoch; ``price`` one of a function of an architecture, called before it is trained. Either needs a direction.
    """

    name: Annotated[str, Field(pattern=r"^[a-z]\w*$")]
    direction: Direction | None = None
    measure: str | None = None
    price: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_name_is_enough(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _is_known_or_ones_own(self) -> Self:
        functions = [path for path in (self.measure, self.price) if path is not None]
        if not functions:
            if self.name not in KNOWN:
                raise ValueError(f"{unknown('objective', self.name, KNOWN)}, or give it measure or price")
            return self
        if len(functions) > 1:
            raise ValueError(f"objective {self.name} has both measure and price: leave one out")
        if self.name in KNOWN and self.name not in REPLACEABLE:
            raise ValueError(f"objective {self.name} comes along: give your own another name")
        if self.name in _NAMES_IN_USE:
            raise ValueError(f"objective {self.name}: the name is in use for something else, give it another")
        if self.direction is None:
            raise ValueError(f"objective {self.name} needs a direction: maximize or minimize")
        if not is_import_path(functions[0]):
            raise ValueError(f"objective {self.name}: {functions[0]} is no import path such as package.module:function")
        return self

    @property
    def objective(self) -> Objective:
        """What it comes to."""
        if self.measure is None and self.price is None:
            known = KNOWN[self.name]
            return Objective(known.name, self.direction or known.direction, known.source)
        direction = self.direction or "minimize"
        source: Literal["measured", "priced"] = "measured" if self.measure else "priced"
        return Objective(self.name, direction, source, self.measure or self.price)


class AshaConfig(Section):
    """When multi-objective ASHA looks at a trial: after min_epochs * eta^k epochs; about 1 / eta go on.

    ``variant`` stopping decides at once, and so lets the first arrivals through; promotion pauses every trial at a
    rung and resumes those that turn out the best. With ``brackets`` above 1, some trials start at a higher rung.
    ``ties`` orders the trials of one front.
    """

    variant: Literal["stopping", "promotion"] = "stopping"
    min_epochs: int = Field(default=1, ge=1)
    eta: int = Field(default=3, ge=2)
    brackets: int = Field(default=1, ge=1)
    ties: Literal["epsilon_net", "crowding"] = "epsilon_net"


class StallConfig(Section):
    """Ends a search whose front's hypervolume grew by less than a fraction over the last so many trials that ended."""

    trials: int = Field(ge=1)
    improvement: float = Field(default=0.001, ge=0)


class SearchConfig(Section):
    """How much is tried. ``epochs`` is a trial's full budget; ``asha: null`` lets every trial use it.

    A file may leave ``epochs`` out where the recipe has a length of its own.
    """

    trials: int = Field(ge=1)
    epochs: int = Field(ge=1)
    objectives: Annotated[tuple[ObjectiveConfig, ...], Field(strict=False, min_length=1)] = (
        ObjectiveConfig(name="accuracy"),
        ObjectiveConfig(name="flops"),
    )
    sampler: SamplerName = "tpe"
    seed: int = Field(default=0, ge=0, lt=2**32)
    asha: AshaConfig | None = AshaConfig()
    stop_when_stalled: StallConfig | None = None

    @model_validator(mode="after")
    def _asha_fits_the_budget(self) -> Self:
        if self.asha is None:
            return self
        if self.asha.min_epochs > self.epochs:
            raise ValueError(f"asha.min_epochs {self.asha.min_epochs} is above the {self.epochs} epochs of a trial")
        rungs = 0
        while self.asha.min_epochs * self.asha.eta**rungs < self.epochs:
            rungs += 1
        if self.asha.brackets > max(1, rungs):
            raise ValueError(f"asha.brackets {self.asha.brackets} is above the number of rungs, {rungs}")
        return self

    @model_validator(mode="after")
    def _each_objective_once(self) -> Self:
        names = [entry.name for entry in self.objectives]
        if len(set(names)) < len(names):
            raise ValueError(f"objectives {', '.join(names)}: each may be there once")
        if not any(entry.objective.source == "measured" for entry in self.objectives):
            raise ValueError(f"objectives {', '.join(names)}: none is measured by training, such as accuracy")
        return self


class ResourcesConfig(Section):
    """What one trial occupies, and how many may run at once (as many as fit, if not said).

    ``gpus_per_trial`` is one where there are GPUs and none elsewhere, if not said; 0 trains on the CPU.
    ``retries`` is how often in a row, without an epoch done in between, a trial whose process was lost goes on.
    ``checkpoint_minutes``: within an epoch that lasts longer, a trial is saved so often.
    """

    cpus_per_trial: float = Field(default=1, gt=0)
    gpus_per_trial: float | None = Field(default=None, ge=0)
    max_concurrent: int | None = Field(default=None, ge=1)
    retries: int = Field(default=1, ge=0)
    checkpoint_minutes: float = Field(default=5, gt=0)

    @field_validator("gpus_per_trial")
    @classmethod
    def _part_of_one_or_whole(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and not math.isclose(gpus, round(gpus)):
            raise ValueError(f"{gpus} GPUs cannot be given to a trial: a part of one, or a whole number")
        return gpus


class Config(Section):
    """A whole search: of SE on one backbone, or on each of several.

    ``output`` is the folder that checkpoints and exports go to, one folder a study. ``checkpoints`` is another place
    for the checkpoints: a folder that all nodes of a cluster share, or a URL such as ``s3://bucket/folder``.
    ``recipe`` is all values here; a file may name recipes instead (:mod:`trainers.recipes`), or none, which is `quick`.
    """

    study: str
    backbone: BackboneConfig | None = None
    backbones: Annotated[tuple[BackboneConfig, ...], Field(strict=False)] = ()
    data: DataConfig
    space: SpaceSpec = SpaceSpec()
    recipe: Recipe = Recipe()
    search: SearchConfig
    resources: ResourcesConfig = ResourcesConfig()
    output: str = "runs"
    checkpoints: str | None = None

    @field_validator("study")
    @classmethod
    def _a_study_may_be_called_so(cls, name: str) -> str:
        # Older studies may go on with names that a new one may not have, which the driver checks.
        if re.fullmatch(r"[\w.-]+", name) is None:
            check_study_name(name)
        return name

    @model_validator(mode="after")
    def _one_backbone_or_several(self) -> Self:
        if self.backbone is None and not self.backbones:
            raise ValueError("the key 'backbone' is missing")
        if self.backbone is not None and self.backbones:
            raise ValueError("there are both backbone and backbones: list all of them in backbones")
        return self

    @model_validator(mode="after")
    def _recipe_fits_the_budget(self) -> Self:
        check_length(self.recipe, self.search.epochs)
        return self

    @property
    def all_backbones(self) -> tuple[BackboneConfig, ...]:
        """The backbones, be there one or several."""
        return self.backbones if self.backbone is None else (self.backbone,)

    @property
    def folder(self) -> Path:
        """Where this study's files go."""
        return (Path(self.output) / self.study).expanduser().absolute()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, every default spelt out."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """What must not change while a study goes on, by dotted key; the rest (how many, how fast, where) may."""
        named = {"backbone": self.backbone and self.backbone.named, "backbones": tuple(b.named for b in self.backbones)}
        whole = _flatten(self.model_copy(update=named).to_dict())
        kept = ("backbone", "data.", "space.", "recipe.", *_IDENTITY_OF_THE_SEARCH)
        # How images are held, and what is left out of them, shows in their fingerprint.
        places = ("data.root", "data.download", "data.stream", "data.corrupt")
        lengths = ("recipe.epochs",)  # only a stand-in for search.epochs
        return {key: value for key, value in whole.items() if key.startswith(kept) and key not in places + lengths}


_USUAL_RECIPE = "quick"
_IDENTITY_OF_THE_SEARCH = ("search.epochs", "search.seed", "search.asha", "search.objectives")


def recorded_config(data: Mapping[str, Any]) -> Config:
    """Return the configuration that a study has recorded."""
    space = data["space"]
    return Config.model_validate({**data, "space": {**space, "sites": recorded_sites(space)}})


def with_sites_of(config: Config, recorded: Mapping[str, Any]) -> Config:
    """Return a configuration with the sites of the study that it continues, if it does not say which.

    Args:
        recorded: the configuration that the study has recorded.
    """
    if "sites" in config.space.model_fields_set:
        return config
    space = config.space.model_copy(update={"sites": recorded_sites(recorded["space"])})
    return config.model_copy(update={"space": space})


def load_config(path: Path, overrides: Iterable[str] = (), *, study: str | None = None) -> Config:
    """The configuration in a YAML file, with ``KEY=VALUE`` overrides (dotted keys, YAML values) on top.

    A study that is not named takes the file's name.

    Raises:
        InputError: the file is missing or not YAML, or something in it is wrong; the message names the key and
            what would be right.
    """
    data = _with_overrides(read_mapping(path, "config file"), overrides)
    if study is not None:
        data["study"] = study
    data.setdefault("study", path.stem)
    return parse_config(data, source=str(path))


def parse_config(data: Mapping[str, Any], overrides: Iterable[str] = (), *, source: str = "config") -> Config:
    """A configuration from plain data, with ``KEY=VALUE`` overrides on top.

    Raises:
        InputError: something is wrong; the message names the source, the key and what would be right.
    """
    try:
        values = _with_recipe_spelt_out(_with_overrides(data, overrides))
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, Config, values)}") from error


def _with_recipe_spelt_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the recipe's values for its names, and its epochs where the search has none."""
    values = dict(data)
    values["recipe"] = _recipe_values(values.get("recipe", _USUAL_RECIPE))
    search = values.get("search")
    if not isinstance(search, Mapping):
        return values
    budget = search.get("epochs")
    if isinstance(budget, int) and "recipe" not in data:  # nobody chose its length
        values["recipe"] = stretched(values["recipe"], max(1, budget))
    if budget is None:
        epochs = values["recipe"].get("epochs")
        if epochs is None:
            raise InputError(
                "the key 'search.epochs' is missing, and so is 'recipe.epochs', which would stand in for it"
            )
        values["search"] = {**search, "epochs": epochs}
    return values


def _recipe_values(given: Any) -> dict[str, Any]:
    try:
        return recipe_values(given)
    except InputError as error:
        raise InputError(f"recipe: {error}") from error


def _with_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    changed = dict(data)
    for override in overrides:
        _override(changed, override)
    return changed


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: write KEY=VALUE, such as search.trials=40")
    *parents, last = key.split(".")
    if parents[:1] == ["recipe"]:  # a key goes on top of what the names stand for
        data["recipe"] = _recipe_values(data.get("recipe", _USUAL_RECIPE))
    section = data
    for parent in parents:
        inner = section.get(parent)
        section[parent] = dict(inner) if isinstance(inner, dict) else {}
        section = section[parent]
    section[last] = parse_yaml(text, f"the value of --set {override}")


def _flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
