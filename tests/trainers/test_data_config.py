import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from search_space.errors import InputError
from trainers.data.config import KNOWN_DATASETS, DataConfig, check_present, describe, view_of
from trainers.data.windows import CentralWindow


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "cifar"}, "did you mean 'cifar10'"),
        ({"name": "cifar10"}, "cifar10 needs root"),
        ({"name": "imagefolder"}, "imagefolder needs root"),
        ({"name": "digits", "resize": 32}, "resize needs image_size"),
        ({"name": "digits", "image_size": 32, "resize": 24}, "resize 24 is below image_size 32"),
        ({"name": "digits", "num_classes": 10}, "num_classes is for imagefolder"),
        ({"name": "digits", "stream": True}, "stream is for images in files of their own; digits is"),
        ({"name": "svhn", "root": "data", "corrupt": "skip"}, "corrupt is for images in files of their own"),
        ({"name": "imagefolder", "root": "data", "corrupt": "drop"}, "'refuse' or 'skip'"),
        ({"name": "imagenet", "root": "data"}, "imagenet has images of many sizes: set image_size"),
        ({"name": "imagenet", "root": "d", "image_size": 8, "download": True}, "cannot be downloaded: get ILSVRC2012"),
        ({"name": "digits", "validation": 1}, "less than 1"),
        ({"name": "digits", "validation": "0.2"}, "valid number"),
        ({"name": "digits", "limit": 0}, "greater than or equal to 1"),
        ({"name": "digits", "split": 3}, "Extra inputs"),
    ],
)
def test_a_mistake_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataConfig.model_validate(given)


def test_a_config_survives_json() -> None:
    config = DataConfig(name="imagefolder", root=Path("/data/birds"), image_size=64)
    assert DataConfig.model_validate(config.model_dump(mode="json")) == config


def test_the_home_folder_is_expanded() -> None:
    assert DataConfig.model_validate({"name": "svhn", "root": "~/svhn"}).root == Path.home() / "svhn"


def test_digits_need_nothing() -> None:
    assert describe(DataConfig(name="digits")) == (10, (1, 8, 8))


def test_a_configuration_of_old_means_what_it_did() -> None:
    config = DataConfig(name="imagefolder", root=Path("/data/birds"), image_size=64)
    assert (config.resize, config.stream, config.corrupt) == (None, None, "refuse")
    assert view_of(config) == CentralWindow((64, 64), (64, 64))
    assert view_of(DataConfig(name="digits")) == CentralWindow((8, 8), (8, 8))


@pytest.mark.parametrize("name", [name for name, known in KNOWN_DATASETS.items() if known.location])
def test_a_missing_data_set_is_named_with_its_mend(name: str, tmp_path: Path) -> None:
    by_hand = KNOWN_DATASETS[name].by_hand
    config = DataConfig(name=name, root=tmp_path, image_size=64)
    mend = re.escape(by_hand or "fetch it with --download (data.download: true)")
    with pytest.raises(InputError, match=f"^{name} is not in {tmp_path} .*: correct data.root, or {mend}$"):
        check_present(config)
    if by_hand is None:
        check_present(DataConfig(name=name, root=tmp_path, download=True))


@pytest.mark.parametrize("name", [name for name, known in KNOWN_DATASETS.items() if known.location])
def test_what_is_known_of_a_data_set_needs_no_data(name: str, tmp_path: Path) -> None:
    known = KNOWN_DATASETS[name]
    larger = DataConfig(name=name, root=tmp_path / "gone", image_size=48, resize=56)
    assert describe(larger) == (known.num_classes, (known.channels, 48, 48))
    if known.side is not None:
        own = (known.channels, known.side, known.side)
        assert describe(DataConfig(name=name, root=tmp_path / "gone")) == (known.num_classes, own)


def test_a_folder_of_known_classes_and_size_is_described_without_it(tmp_path: Path) -> None:
    config = DataConfig(name="imagefolder", root=tmp_path / "gone", image_size=64, num_classes=7)
    assert describe(config) == (7, (3, 64, 64))


def test_configuration_is_read_without_torch() -> None:
    program = """
import sys
import trainers, trainers.recipe, trainers.schedule, trainers.data.config, trainers.checkpoint_layout
from trainers.data.config import DataConfig, describe
describe(DataConfig(name="digits"))
assert not {"torch", "torchvision", "sklearn"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
