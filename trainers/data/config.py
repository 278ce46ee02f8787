"""Which images a search trains on, as data; nothing here imports torch.

A data set's own facts are known without reading it, so a configuration is checked, and its backbone's input known,
before anything is loaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from search_space.errors import InputError, unknown
from trainers.data import image_folder
from trainers.data.windows import CentralWindow, Size

Shape = tuple[int, int, int]
"""(channels, height, width)"""


@dataclass(frozen=True)
class KnownDataset:
    """What is fixed about a data set.

    Args:
        num_classes: how many there are.
        channels: 1 or 3.
        side: of its square images, in pixels; None where images have many sizes.
        location: the path under the root that tells whether it is there; None for what comes with a library.
        in_files: whether each image is a file of its own, which can be streamed.
        by_hand: how to get it where nothing downloads it.
    """

    num_classes: int
    channels: int
    side: int | None
    location: str | None
    in_files: bool = False
    by_hand: str | None = None


_IMAGENET_BY_HAND = (
    "get ILSVRC2012 from https://image-net.org/download and lay it out as train/<wnid>/*.JPEG and val/<wnid>/*.JPEG"
)

KNOWN_DATASETS: dict[str, KnownDataset] = {
    "digits": KnownDataset(10, 1, 8, None),
    "mnist": KnownDataset(10, 1, 28, "MNIST/raw"),
    "fashion_mnist": KnownDataset(10, 1, 28, "FashionMNIST/raw"),
    "kmnist": KnownDataset(10, 1, 28, "KMNIST/raw"),
    "cifar10": KnownDataset(10, 3, 32, "cifar-10-batches-py"),
    "cifar100": KnownDataset(100, 3, 32, "cifar-100-python"),
    "svhn": KnownDataset(10, 3, 32, "train_32x32.mat"),
    "places365": KnownDataset(365, 3, 256, "data_256_standard", in_files=True),
    "imagenet": KnownDataset(1000, 3, None, "train", in_files=True, by_hand=_IMAGENET_BY_HAND),
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
        image_size: the side in pixels of the square that the network sees; if not given, the images' own size. Needed
            when the images are not all of one size.
        resize: evaluation scales an image's shorter side to so many pixels and takes the central square of
            ``image_size``, which is also the least it can be and what it is if not given.
        num_classes: imagefolder only: how many class folders there are to be; found by looking, if not said.
        download: fetch a torchvision data set into the root if it is not there.
        stream: for images in files: read them again in every epoch (true), or decode them once into memory (false). If
            null, they are streamed where they would take more than half of the memory that is available.
        corrupt: for images in files: refuse a data set with one that cannot be decoded, or skip that image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    # A path is written as a string in YAML and JSON, which strictness would turn away.
    root: Annotated[Path | None, Field(strict=False)] = None
    validation: float = Field(default=0.2, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    limit: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)
    resize: int | None = Field(default=None, ge=1)
    num_classes: int | None = Field(default=None, ge=2)
    download: bool = False
    stream: bool | None = None
    corrupt: Literal["refuse", "skip"] = "refuse"

    @property
    def in_files(self) -> bool:
        """Whether each image is a file of its own."""
        return self.name == IMAGE_FOLDER or KNOWN_DATASETS[self.name].in_files

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
    def _has_a_view(self) -> Self:
        if self.resize is not None and self.image_size is None:
            raise InputError("resize needs image_size, the side of the central square that is taken of what is resized")
        if self.resize is not None and self.image_size is not None and self.resize < self.image_size:
            raise InputError(f"resize {self.resize} is below image_size {self.image_size}: raise it, or leave it out")
        return self

    @model_validator(mode="after")
    def _fits_the_data_set(self) -> Self:
        if self.name == IMAGE_FOLDER:
            if self.root is None:
                raise InputError("imagefolder needs root, the folder that holds train/<class>/")
            return self
        known = KNOWN_DATASETS[self.name]
        if self.root is None and known.location is not None:
            raise InputError(f"{self.name} needs root, the folder that holds it or that it is downloaded to")
        if self.image_size is None and known.side is None:
            raise InputError(f"{self.name} has images of many sizes: set image_size, usually 224 (with resize: 256)")
        if self.num_classes is not None:
            raise InputError(f"num_classes is for imagefolder; {self.name} has classes of its own")
        if self.download and known.by_hand is not None:
            raise InputError(f"{self.name} cannot be downloaded: {known.by_hand}")
        if not known.in_files and (self.stream or self.corrupt != "refuse"):
            key = "stream" if self.stream else "corrupt"
            raise InputError(f"{key} is for images in files of their own; {self.name} is read into memory as a whole")
        return self


def describe(config: DataConfig) -> tuple[int, Shape]:
    """The number of classes and the (channels, height, width) that the network sees, looking no further than needed.

    What the configuration says is taken from it, so that networks can be priced where the data is not. Otherwise an
    imagefolder's class folders are listed, and one image's header is read.

    Raises:
        InputError: an imagefolder that has to be looked into is not there, or has a single class.
    """
    known = KNOWN_DATASETS.get(config.name)
    if known is None:
        num_classes = config.num_classes or len(image_folder.class_names(folder_of(config)))
        return num_classes, (3, *view_of(config).size)
    return known.num_classes, (known.channels, *view_of(config).size)


def view_of(config: DataConfig) -> CentralWindow:
    """What evaluation sees of an image. Looks into an imagefolder whose ``image_size`` is not said.

    Raises:
        InputError: it has to be looked into, and is not there or holds no image that can be read.
    """
    if config.image_size is not None:
        side, frame = config.image_size, config.resize or config.image_size
        return CentralWindow((side, side), (frame, frame))
    own = _own_size(config)
    return CentralWindow(own, own)


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
            mend = known.by_hand or "fetch it with --download (data.download: true)"
            raise InputError(
                f"{config.name} is not in {config.root} ({location} does not exist): correct data.root, or {mend}"
            )


def folder_of(config: DataConfig) -> Path:
    """The root, of a data set that has one."""
    if config.root is None:
        raise InputError(f"{config.name} has no data.root")
    return config.root


def _own_size(config: DataConfig) -> Size:
    if config.name == IMAGE_FOLDER:
        return image_folder.image_size(folder_of(config), skip_corrupt=config.corrupt == "skip")
    side = KNOWN_DATASETS[config.name].side
    if side is None:
        raise InputError(f"{config.name} has images of many sizes: set data.image_size")
    return side, side
