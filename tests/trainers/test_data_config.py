import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from search_space.errors import InputError
from trainers.data.config import KNOWN_DATASETS, DataConfig, check_present, describe


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "cifar"}, "did you mean 'cifar10'"),
        ({"name": "cifar10"}, "cifar10 needs root"),
        ({"name": "imagefolder"}, "imagefolder needs root"),
        ({"name": "digits", "image_size": 32}, "image_size is for imagefolder"),
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


@pytest.mark.parametrize("name", [name for name, known in KNOWN_DATASETS.items() if known.location])
def test_a_missing_data_set_is_named_with_its_mend(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name} is not in {tmp_path}.*data.download: true"):
        check_present(DataConfig(name=name, root=tmp_path))
    check_present(DataConfig(name=name, root=tmp_path, download=True))


@pytest.mark.parametrize("name", [name for name, known in KNOWN_DATASETS.items() if known.location])
def test_what_is_known_of_a_data_set_needs_no_data(name: str, tmp_path: Path) -> None:
    known = KNOWN_DATASETS[name]
    assert describe(DataConfig(name=name, root=tmp_path)) == (known.num_classes, known.shape)
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
