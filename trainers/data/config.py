"""Which images a search trains on, as data; nothing here imports torch.

A data set's own facts are known without reading it, so a configuration is checked, and its backbone's input known,
before anything is loaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from search_space.errors import InputError, unknown
from trainers.data import image_folder

Shape = tuple[int, int, int]
"""(channels, height, width)"""


@dataclass(frozen=True)
class KnownDataset:
    """What is fixed about a data set: its classes, its images' shape, and the path under the root that it lies at.

    ``location`` is None for what comes with a library and needs no root.
    """

    num_classes: int
    shape: Shape
    location: str | None


KNOWN_DATASETS: dict[str, KnownDataset] = {
    "digits": KnownDataset(10, (1, 8, 8), None),
    "cifar10": KnownDataset(10, (3, 32, 32), "cifar-10-batches-py"),
    "cifar100": KnownDataset(100, (3, 32, 32), "cifar-100-python"),
    "svhn": KnownDataset(10, (3, 32, 32), "train_32x32.mat"),
    "fashion_mnist": KnownDataset(10, (1, 28, 28), "FashionMNIST/raw"),
}
IMAGE_FOLDER = "imagefolder"
DATASETS: tuple[str, ...] = (*KNOWN_DATASETS, IMAGE_FOLDER)


class DataConfig(BaseModel):
    """A data set and how its training images are split into those trained on and those that score a trial.

    Args:
        name: one of :data:`DATASETS`.
        root: the folder of the data set; all but digits, which comes with scikit-learn, need one. An imagefolder
            holds ``train/<class>/*.jpg`` and ``test/<class>/*.jpg`` (or ``val``), in any format that Pillow reads.
        validation: the fraction of the training images that is held out, class by class, to score trials.
        split_seed: seeds the choice of the validation images, and of ``limit``'s.
        limit: use at most so many training images (validation included), class by class. The test set stays whole.
        image_size: imagefolder only: crop images to their central square and resize it to this many pixels a side.
            Needed when the images are not all of one size.
        num_classes: imagefolder only: how many class folders there are to be; found by looking, if not said.
        download: fetch a torchvision data set into the root if it is not there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    # A path is written as a string in YAML and JSON, which strictness would turn away.
    root: Annotated[Path | None, Field(strict=False)] = None
    validation: float = Field(default=0.2, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    limit: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)
    num_classes: int | None = Field(default=None, ge=2)
    download: bool = False

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in DATASETS:
            raise unknown("data set", name, DATASETS)
        return name

    @field_validator("root")
    @classmethod
    def _expand_home(cls, root: Path | None) -> Path | None:
        return root and root.expanduser()

    @model_validator(mode="after")
    def _fits_the_data_set(self) -> Self:
        if self.name == IMAGE_FOLDER:
            if self.root is None:
                raise InputError("imagefolder needs root, the folder that holds train/<class>/")
            return self
        if self.root is None and KNOWN_DATASETS[self.name].location is not None:
            raise InputError(f"{self.name} needs root, the folder that holds it or that it is downloaded to")
        if self.image_size is not None:
            raise InputError(f"image_size is for imagefolder; the images of {self.name} have a size of their own")
        if self.num_classes is not None:
            raise InputError(f"num_classes is for imagefolder; {self.name} has classes of its own")
        return self


def describe(config: DataConfig) -> tuple[int, Shape]:
    """The number of classes and the (channels, height, width) of the images, looking no further than needed.

    What the configuration says is taken from it, so that networks can be priced where the data is not. Otherwise an
    imagefolder's class folders are listed, and one image's header is read.

    Raises:
        InputError: an imagefolder that has to be looked into is not there, or has a single class.
    """
    if config.name != IMAGE_FOLDER:
        known = KNOWN_DATASETS[config.name]
        return known.num_classes, known.shape
    root = folder_of(config)
    num_classes = config.num_classes or len(image_folder.class_names(root))
    return num_classes, image_folder.image_shape(root, config.image_size)


def check_present(config: DataConfig) -> None:
    """Checks that the data set is where the configuration says, and has the classes that it says.

    Raises:
        InputError: it is not there (and is not to be downloaded), or its classes are not as many.
    """
    if config.name == IMAGE_FOLDER:
        found = len(image_folder.class_names(folder_of(config)))
        if config.num_classes not in (None, found):
            raise InputError(f"{config.root} has {found} classes, not data.num_classes = {config.num_classes}")
        return
    known = KNOWN_DATASETS[config.name]
    if known.location is not None and not config.download:
        location = folder_of(config) / known.location
        if not location.exists():
            raise InputError(
                f"{config.name} is not in {config.root} ({location} does not exist): correct data.root, "
                f"or set data.download: true"
            )


def folder_of(config: DataConfig) -> Path:
    """The root, of a data set that has one."""
    if config.root is None:
        raise InputError(f"{config.name} has no data.root")
    return config.root
