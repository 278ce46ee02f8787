import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from search_space.errors import InputError
from trainers.batches import scoring_batches
from trainers.data import image_files, sources
from trainers.data.config import KNOWN_DATASETS, DataConfig, describe
from trainers.data.image_files import ImageFiles, decode
from trainers.data.images import ImageSet
from trainers.data.splits import final_splits, search_splits
from trainers.data.stream import ImageStream

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


def config(root: Path, **options: object) -> DataConfig:
    return DataConfig.model_validate({"name": "imagefolder", "root": root, **options})


def test_it_is_described_by_its_folders_and_one_image(root: Path) -> None:
    assert describe(config(root)) == (3, (3, 8, 12))
    assert describe(config(root, image_size=16)) == (3, (3, 16, 16))
    assert describe(config(root, image_size=16, resize=20)) == (3, (3, 16, 16))


def test_classes_are_named_after_their_folders(root: Path) -> None:
    for splits in (search_splits(config(root)), final_splits(config(root))):
        assert splits.class_names == splits.to("cpu").class_names == CLASSES


def test_names_that_are_no_text_become_text(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "cow").rename(root / part / os.fsdecode(b"z\xe9bu\n"))
    names = final_splits(config(root)).class_names
    assert names == ("ant", "bee", "z\\xe9bu\n")


def test_a_test_set_without_a_class_is_told_by_name(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    final_splits(config(root))
    assert not caplog.records
    shutil.rmtree(root / "test" / "bee")
    splits = final_splits(config(root))
    assert caplog.messages == ["the test set of imagefolder has no image of class 'bee'"]
    assert set(splits.held_out.labels.tolist()) == {0, 2}


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


IN_A_SEARCH = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from trainers.batches import scoring_batches, training_batches
from trainers.data.config import DataConfig, describe
from trainers.data.splits import fingerprint, search_splits
from trainers.recipe import Recipe
root = sys.argv[1]
for stream in (False, True):
    config = DataConfig(name="imagefolder", root=root, stream=stream)
    describe(config)
    opened.clear()
    splits = search_splits(config)
    splits.normalization
    assert fingerprint(splits.train) != fingerprint(splits.held_out)
    batches = list(training_batches(splits.train, Recipe(batch_size=6), 0, 0))
    assert sum(len(labels) for _, labels in [*batches, *scoring_batches(splits.held_out, 4)]) == 30
    assert len({file for file in opened if file.startswith(root + "/train/")}) == 30
    assert not [file for file in opened if file.startswith(root) and not file.startswith(root + "/train")]
"""


def test_a_search_opens_no_file_of_the_test_set(root: Path) -> None:
    for file in (root / "test").rglob("*.png"):
        file.write_bytes(b"unreadable")
    subprocess.run([sys.executable, "-c", IN_A_SEARCH, str(root)], check=True, cwd=Path(__file__).parents[2])
    with pytest.raises(InputError, match=f"cannot read the image {root}/test/ant/0.png"):
        final_splits(config(root))


def test_only_the_chosen_files_are_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = sources.decode

    def recording(files: ImageFiles, frame: tuple[int, int]) -> object:
        decoded.extend(files.path(index) for index in range(len(files)))
        return decode(files, frame)

    monkeypatch.setattr(sources, "decode", recording)
    search_splits(config(root, limit=15))
    assert len(decoded) == len(set(decoded)) == 15
    assert all(file.startswith(f"{root}/train/") for file in decoded)


def decoded(file: Path, frame: tuple[int, int]) -> np.ndarray:
    pixels, kept = decode(ImageFiles(file.parent, np.array([file.name.encode()])), frame)
    assert kept == [0]
    return pixels


def test_images_are_cropped_about_the_centre_and_resized(root: Path) -> None:
    picture = np.zeros((8, 12, 3), dtype=np.uint8)
    picture[:, 2:10] = 200  # the central square
    file = root / "picture.png"
    Image.fromarray(picture).save(file)
    assert (decoded(file, (8, 8)) == 200).all()
    smaller = decoded(file, (4, 4))
    assert smaller.shape == (1, 3, 4, 4)
    assert (smaller[..., 1:3] == 200).all()  # the outer columns blend with what was cut off


@pytest.mark.parametrize(("suffix", "side"), [("jpg", 20), ("jpg", 100), ("png", 31), ("jpg", 200)])
def test_decoding_is_pillows_own_fit(suffix: str, side: int, tmp_path: Path) -> None:
    file = tmp_path / f"noise.{suffix}"
    noise = np.random.RandomState(0).randint(0, 256, (13, 17, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((168, 136)).save(file)
    with Image.open(file) as image:
        image.draft("RGB", (side, side))
        expected = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    assert (decoded(file, (side, side))[0] == np.asarray(expected).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(root: Path, mode: str) -> None:
    file = root / "image.tif"
    Image.new("RGB", (12, 8), "white").convert(mode).save(file)
    assert decoded(file, (8, 12)).tolist() == np.full((1, 3, 8, 12), 255).tolist()


def test_what_is_larger_than_seen_is_kept_for_random_windows(root: Path) -> None:
    splits = search_splits(config(root, image_size=4, resize=6))
    assert splits.train.images.shape == (24, 3, 6, 6)
    assert [images.shape for images, _ in scoring_batches(splits.train, 24)] == [(24, 3, 4, 4)]


def test_images_of_several_sizes_need_an_image_size(root: Path) -> None:
    odd = root / "train" / "bee" / "3.png"
    Image.new("RGB", (9, 9)).save(odd)
    with pytest.raises(InputError, match=f"{odd} is 9x9 and others are 12x8: set data.image_size"):
        search_splits(config(root))
    assert search_splits(config(root, image_size=8)).train.images.shape == (24, 3, 8, 8)


def damage(file: Path, content: bytes | str) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)


@pytest.mark.parametrize("image_size", [None, 8])
@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
def test_an_unreadable_image_is_named(root: Path, content: bytes | str, image_size: int | None) -> None:
    broken = root / "train" / "cow" / "5.png"
    damage(broken, content)
    with pytest.raises(InputError, match=f"cannot read the image {broken} .*data.corrupt: skip"):
        search_splits(config(root, image_size=image_size))


@pytest.mark.parametrize("missing", [1, 2, 40, 300])
def test_a_jpeg_that_ends_too_early_is_corrupt(missing: int, tmp_path: Path) -> None:
    file = tmp_path / "cut.jpg"
    noise = np.random.RandomState(0).randint(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:-missing])
    with pytest.raises(InputError, match=f"cannot read the image {file} .*truncated"):
        decoded(file, (10, 10))


def test_corrupt_images_are_skipped_by_option_and_named_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = [root / "train" / name / "5.png" for name in ("ant", "cow")]
    for file in broken:
        damage(file, "cut")
    train = final_splits(config(root, corrupt="skip")).train
    assert train.images[:, 0, 0, 0].tolist() == [
        shade("train", label, n) for label in range(3) for n in range(10) if (label, n) not in ((0, 5), (2, 5))
    ]
    assert train.labels.tolist() == [0] * 9 + [1] * 10 + [2] * 9
    assert [record.getMessage() for record in caplog.records] == [
        f"left out 2 of 30 images, which cannot be read: {broken[0]}, {broken[1]}"
    ]


def test_a_corrupt_first_image_does_not_hide_the_size(root: Path) -> None:
    damage(root / "train" / "ant" / "0.png", b"")
    assert describe(config(root, corrupt="skip")) == (3, (3, 8, 12))
    with pytest.raises(InputError, match="cannot read the image"):
        describe(config(root))


def test_a_class_without_an_image_left_is_named(root: Path) -> None:
    for file in (root / "train" / "bee").iterdir():
        damage(file, b"")
    with pytest.raises(InputError, match=r"no image of class 'bee' can be read, as .* and 5 more cannot"):
        final_splits(config(root, corrupt="skip"))


def test_what_the_system_keeps_from_us_is_never_skipped(root: Path) -> None:
    file = root / "train" / "cow" / "5.png"
    file.unlink()
    file.symlink_to(root / "nowhere")
    for corrupt in ("refuse", "skip"):
        with pytest.raises(InputError, match=rf"cannot open {file} \(No such file or directory\)"):
            search_splits(config(root, corrupt=corrupt))


def test_what_does_not_fit_in_memory_is_streamed_or_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "available_memory", lambda: 2 * 24 * 3 * 8 * 12 - 1)
    with pytest.raises(InputError, match=r"24 images of 3x8x12 .* data.stream: true, or .* data.limit"):
        search_splits(config(root, stream=False))
    assert isinstance(search_splits(config(root)).train, ImageStream)
    assert isinstance(search_splits(config(root, limit=20)).train, ImageSet)
    assert isinstance(search_splits(config(root, limit=20, stream=True)).train, ImageStream)
    assert isinstance(final_splits(config(root, limit=20)).held_out, ImageSet)  # the test set's own 12


def test_a_relative_root_is_found_from_anywhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    train = search_splits(config(Path(root.name), stream=True)).train
    monkeypatch.chdir("/")
    assert sum(len(labels) for _, labels in scoring_batches(train, 10)) == 24


def test_imagenet_is_a_folder_of_its_classes_whose_val_is_the_test_set(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagenet = DataConfig(name="imagenet", root=root, image_size=8)
    with pytest.raises(InputError, match="holds 3 class folders, not the 1000 of imagenet"):
        search_splits(imagenet)
    monkeypatch.setitem(KNOWN_DATASETS, "imagenet", replace(KNOWN_DATASETS["imagenet"], num_classes=3))
    assert len(search_splits(imagenet).train) == 24
    with pytest.raises(InputError, match=r"no folder .*/val"):  # the folder "test" is not it
        final_splits(imagenet)
    (root / "test").rename(root / "val")
    assert final_splits(imagenet).held_out.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


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
