import numpy as np
import pytest
from PIL import Image
from senas_command import Senas


@pytest.fixture
def senas(tmp_path):
    return Senas(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A search that has run to its end, with what it printed."""
    command = Senas(tmp_path_factory.mktemp("finished"))
    command.ended = command.run("search", "tiny.yaml")
    return command


@pytest.fixture
def tiny_images(tmp_path):
    """Ten classes of noise, as an image folder."""
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for label in range(10):
            folder = tmp_path / "images" / part / str(label)
            folder.mkdir(parents=True)
            for number in range(count):
                noise = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{number}.png")
    return tmp_path / "images"
