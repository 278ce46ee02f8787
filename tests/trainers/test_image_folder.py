import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_space.errors import InputError
from trainers.data import image_folder
from trainers.data.config import DataConfig, describe
from trainers.data.splits import final_splits, search_splits

CLASSES = ("ant", "bee", "cow")


def shade(part: str, label: int, number: int) -> int:
    """A grey level that tells an image of any part, class and number from all others."""
    return 100 * (part == "test") + 30 * label + number


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("test", 4)):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("L", (12, 8), shade(part, label, number)).save(folder / f"{number}.png")
    return tmp_path


def config(root: Path, **options: int | float | None) -> DataConfig:
    return DataConfig.model_validate({"name": "imagefolder", "root": root, **options})


def test_it_is_described_by_its_folders_and_one_image(root: Path) -> None:
    assert describe(config(root)) == (3, (3, 8, 12))
    assert describe(config(root, image_size=16)) == (3, (3, 16, 16))


def test_every_image_gets_its_own_label(root: Path) -> None:
    splits = search_splits(config(root))
    shades = {
        (int(image[0, 0, 0]), int(label))
        for part in (splits.train, splits.held_out)
        for image, label in zip(part.images, part.labels, strict=True)
    }
    assert shades == {(shade("train", label, n), label) for label in range(3) for n in range(10)}
    assert (len(splits.train), len(splits.held_out)) == (24, 6)


def test_the_test_set_is_the_test_folder(root: Path) -> None:
    splits = final_splits(config(root))
    assert (len(splits.train), len(splits.held_out)) == (30, 12)
    assert splits.held_out.images[:, 0, 0, 0].tolist() == [shade("test", c, n) for c in range(3) for n in range(4)]


def test_val_serves_when_there_is_no_test(root: Path) -> None:
    (root / "test").rename(root / "val")
    assert len(final_splits(config(root)).held_out) == 12


def test_a_search_does_without_the_test_folder(root: Path) -> None:
    shutil.rmtree(root / "test")
    search_splits(config(root))
    with pytest.raises(InputError, match=r"no folder .*test \(nor val\)"):
        final_splits(config(root))


def test_only_the_chosen_files_are_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    decode = image_folder.decode

    def recording(files: list[Path], shape: tuple[int, int, int], *, resize: bool) -> object:
        decoded.extend(files)
        return decode(files, shape, resize=resize)

    monkeypatch.setattr(image_folder, "decode", recording)
    search_splits(config(root, limit=15))
    assert len(decoded) == len(set(decoded)) == 15
    assert all(file.is_relative_to(root / "train") for file in decoded)


def test_images_are_cropped_about_the_centre_and_resized(root: Path) -> None:
    picture = np.zeros((8, 12, 3), dtype=np.uint8)
    picture[:, 2:10] = 200  # the central square
    file = root / "picture.png"
    Image.fromarray(picture).save(file)
    assert (image_folder.decode([file], (3, 8, 8), resize=True) == 200).all()
    smaller = image_folder.decode([file], (3, 4, 4), resize=True)
    assert smaller.shape == (1, 3, 4, 4)
    assert (smaller[..., 1:3] == 200).all()  # the outer columns blend with what was cut off


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(root: Path, mode: str) -> None:
    file = root / "image.tif"
    Image.new("RGB", (12, 8), "white").convert(mode).save(file)
    assert image_folder.decode([file], (3, 8, 12), resize=False).tolist() == np.full((1, 3, 8, 12), 255).tolist()


def test_images_of_several_sizes_need_an_image_size(root: Path) -> None:
    odd = root / "train" / "bee" / "3.png"
    Image.new("RGB", (9, 9)).save(odd)
    with pytest.raises(InputError, match=f"{odd} is 9x9 and others are 12x8: set data.image_size"):
        search_splits(config(root))
    assert search_splits(config(root, image_size=8)).train.images.shape == (24, 3, 8, 8)


@pytest.mark.parametrize("image_size", [None, 8])
@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
def test_an_unreadable_image_is_named(root: Path, content: bytes | str, image_size: int | None) -> None:
    broken = root / "train" / "cow" / "5.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(InputError, match=f"cannot read the image {broken}"):
        search_splits(config(root, image_size=image_size))


def test_what_does_not_fit_in_memory_is_refused_before_decoding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "available_memory", lambda: 2 * 24 * 3 * 8 * 12 - 1)
    with pytest.raises(InputError, match=r"24 images of 3x8x12 .* data.image_size or data.limit"):
        search_splits(config(root))
    assert len(search_splits(config(root, limit=20)).train) == 16


def test_wrong_layouts_are_explained(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*nowhere/train.*expected train/<class>"):
        describe(config(tmp_path / "nowhere"))
    (root / "test" / "wasp").mkdir()
    with pytest.raises(InputError, match="unknown class folder"):
        final_splits(config(root))
    with pytest.raises(InputError, match=r"has 3 classes, not data.num_classes = 5"):
        search_splits(config(root, num_classes=5))
    for name in CLASSES[1:]:
        shutil.rmtree(root / "train" / name)
    with pytest.raises(InputError, match="1 class folders, at least 2"):
        describe(config(root))


def test_an_empty_class_is_named(root: Path) -> None:
    (root / "train" / "dog").mkdir()
    with pytest.raises(InputError, match=r"no images in .*dog"):
        search_splits(config(root))
