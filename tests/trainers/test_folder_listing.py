import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_space.errors import InputError
from trainers.data.config import DataConfig
from trainers.data.image_folder import list_images
from trainers.data.splits import final_splits, search_splits

CLASSES = ("a", "b")
EACH = 5
NOISE = np.random.RandomState(0)


def picture() -> Image.Image:
    return Image.fromarray(NOISE.randint(0, 256, (8, 8, 3)).astype(np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        for name in CLASSES:
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(EACH):
                picture().save(tmp_path / part / name / f"{number}.png")
    return tmp_path


@pytest.fixture
def train(root: Path) -> Path:
    return root / "train"


def names(folder: Path) -> list[str]:
    return [os.fsdecode(name) for name in list_images(folder, CLASSES).names]


def left_out(folder: Path) -> str | None:
    return list_images(folder, CLASSES).left_out


def config(root: Path, **options: object) -> DataConfig:
    return DataConfig.model_validate({"name": "imagefolder", "root": root, "image_size": 8, **options})


PLAIN = [f"{name}/{number}.png" for name in CLASSES for number in range(EACH)]


def test_a_folder_of_images_alone_leaves_nothing_to_say(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert names(root / "train") == PLAIN
    for stream in (False, True):
        search_splits(config(root, stream=stream))
        final_splits(config(root, stream=stream))
    assert caplog.messages == []


READ = "jpg jpeg jpe jfif png apng gif webp avif bmp dib tif tiff jp2 j2k ppm pgm pbm pnm tga ico pcx sgi mpo PNG Gif"
NOT_READ = "pdf eps ps mpg mpeg h5 hdf grib bufr wmf emf txt npy heic json zip"


@pytest.mark.parametrize("suffix", READ.split())
def test_what_pillow_writes_and_reads_is_listed(suffix: str, train: Path) -> None:
    image = picture()
    if suffix == "pbm":
        image = image.convert("1")
    image.save(train / "a" / f"other.{suffix}")
    assert f"a/other.{suffix}" in names(train)
    assert left_out(train) is None


@pytest.mark.parametrize("suffix", NOT_READ.split())
def test_what_pillow_does_not_decode_is_left_out_and_counted(suffix: str, train: Path) -> None:
    (train / "a" / f"other.{suffix.upper()}").touch()
    assert names(train) == PLAIN
    assert left_out(train) == f"left out of {train}: 1 without the suffix of an image format (1 .{suffix})"


def test_what_is_left_out_is_said_in_one_line_when_the_images_are_used(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        (root / "train" / "b" / f"{number}.heic").touch()
    (root / "train" / "b" / "README").touch()
    (root / "train" / "a" / "within").mkdir()
    (root / "train" / "a" / "within" / "labels.txt").touch()
    (root / "train" / "a" / ".DS_Store").touch()
    (root / "train" / "stray.png").touch()
    (root / "test" / "index.csv").touch()
    search_splits(config(root))
    said = (
        f"left out of {root}/train: 6 without the suffix of an image format (4 .heic, 1 without a suffix, 1 .txt); "
        "1 beside the class folders (stray.png); 1 hidden (a/.DS_Store)"
    )
    assert caplog.messages == [said]
    final_splits(config(root))
    assert caplog.messages == [said, said, f"left out of {root}/test: 1 beside the class folders (index.csv)"]


def test_hidden_folders_are_not_entered(train: Path) -> None:
    for place in (train / ".thumbnails", train / "a" / ".ipynb_checkpoints"):
        place.mkdir()
        picture().save(place / "0.png")
    assert names(train) == PLAIN
    assert left_out(train) == f"left out of {train}: 2 hidden (.thumbnails, a/.ipynb_checkpoints)"


def test_a_class_of_other_files_alone_says_what_they_are(train: Path) -> None:
    for file in (train / "b").iterdir():
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(InputError, match=rf"no images in {train}/b, which holds 5 .heic: "):
        list_images(train, CLASSES)


@pytest.mark.parametrize("target", [".", "../a", "{train}/a"])
def test_a_link_to_a_parent_folder_repeats_nothing(target: str, train: Path) -> None:
    (train / "a" / "self").symlink_to(target.format(train=train))
    assert names(train) == PLAIN
    assert left_out(train) == f"left out of {train}: 1 leading to a folder that is read already (a/self)"


def test_links_that_lead_to_each_other_come_to_an_end(train: Path) -> None:
    (train / "a" / "one").mkdir()
    (train / "a" / "two").mkdir()
    picture().save(train / "a" / "one" / "image.png")
    (train / "a" / "one" / "other").symlink_to("../two")
    (train / "a" / "two" / "other").symlink_to("../one")
    (train / "a" / "loop").symlink_to("loop")
    assert names(train) == sorted([*PLAIN, "a/one/image.png"])


def test_a_folder_is_read_by_its_own_name_rather_than_a_links(train: Path) -> None:
    (train / "a" / "z").mkdir()
    picture().save(train / "a" / "z" / "image.png")
    (train / "a" / "b").symlink_to("z")
    assert names(train) == sorted([*PLAIN, "a/z/image.png"])


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_listed_twice_in_a_class_counts_once(link: Callable[[str, str], None], train: Path) -> None:
    link(f"{train}/a/3.png", f"{train}/a/again.png")
    assert names(train) == PLAIN
    assert left_out(train) == f"left out of {train}: 1 listed before by another name (a/again.png is a/3.png)"


@pytest.mark.parametrize(
    ("place", "target", "pair"),
    [
        ("a/up", "..", "b/0.png and {train}/a/up/b/0.png"),
        ("a/other", "../b", "b/0.png and {train}/a/other/0.png"),
        ("a/image.png", "../b/0.png", "b/0.png and {train}/a/image.png"),
        ("b/image.png", "../a/0.png", "a/0.png and {train}/b/image.png"),
    ],
)
def test_a_file_in_two_classes_is_refused(place: str, target: str, pair: str, train: Path) -> None:
    (train / place).symlink_to(target)
    message = f"{train}/{pair.format(train=train)} are one file in the two classes '[ab]' and '[ab]'.*: remove one"
    with pytest.raises(InputError, match=message):
        list_images(train, CLASSES)


def test_a_hard_link_in_another_class_is_refused(train: Path) -> None:
    (train / "b" / "image.png").hardlink_to(train / "a" / "0.png")
    with pytest.raises(InputError, match="are one file in the two classes 'a' and 'b'"):
        list_images(train, CLASSES)


def test_a_class_folder_that_is_a_link_to_another_is_refused(train: Path) -> None:
    (train / "self").symlink_to(".")
    with pytest.raises(InputError, match="are one file in the two classes"):
        list_images(train, (*CLASSES, "self"))


def test_links_out_of_the_folder_are_read(train: Path, tmp_path: Path) -> None:
    elsewhere = train.rename(tmp_path / "elsewhere")
    (train / "a").mkdir(parents=True)
    for file in (elsewhere / "a").iterdir():
        (train / "a" / file.name).symlink_to(file)
    (train / "b").symlink_to(elsewhere / "b")
    assert names(train) == PLAIN
    assert left_out(train) is None


def test_a_link_that_leads_nowhere_stays_listed(train: Path) -> None:
    (train / "a" / "gone.png").symlink_to("nowhere")
    assert names(train) == sorted([*PLAIN, "a/gone.png"])


@pytest.mark.parametrize("seed", range(20))
def test_of_any_links_every_file_is_listed_once(seed: int, tmp_path: Path) -> None:
    random = np.random.RandomState(seed)
    folders = [tmp_path / "train" / "a"]
    folders[0].mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folders.append(elsewhere)
    for number in range(25):
        parent, other = (folders[random.randint(len(folders))] for _ in range(2))
        place = parent / f"{number}.png"
        kind = random.randint(5)
        if kind == 0:
            place.mkdir()
            folders.append(place)
        elif kind == 1:
            place.symlink_to(other)
        elif kind == 2 and (files := [file for file in other.iterdir() if file.is_file()]):
            place.hardlink_to(files[0])
        elif kind == 3 and (files := [file for file in other.iterdir() if file.is_file()]):
            place.symlink_to(files[-1])
        else:
            place.touch()
    (tmp_path / "train" / "a" / "first.png").touch()
    listed = [(tmp_path / "train" / name).stat().st_ino for name in names(tmp_path / "train")]
    found = subprocess.run(
        ["find", "-L", tmp_path / "train", "-type", "f", "-printf", "%i\n"],  # which reports loops, and goes on
        check=False,
        capture_output=True,
        text=True,
    )
    assert len(listed) == len(set(listed))
    assert set(listed) == set(map(int, found.stdout.split()))


@pytest.mark.parametrize("stream", [False, True])
def test_a_file_in_both_train_and_test_is_named(root: Path, stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    linked = root / "test" / "a" / "linked.png"
    linked.symlink_to(root / "train" / "a" / "2.png")
    final_splits(config(root, stream=stream))
    said = f"1 of {2 * EACH + 1} test images equal training images, as {linked} does {root}/train/a/2.png"
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(said)


def test_a_copy_in_both_splits_is_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(EACH):
        copied = root / "train" / "b" / f"copy-{number}.bmp"
        with Image.open(root / "train" / "b" / f"{number}.png") as image:
            image.save(copied)
    split = search_splits(config(root, validation=0.4, corrupt="skip"))
    train, held_out = (
        [Path(part.files.path(index)).stem.removeprefix("copy-") for index in range(len(part))]
        for part in (split.train, split.held_out)
        if part.files is not None
    )
    pixels = [{image.numpy().tobytes() for image in part.images} for part in (split.train, split.held_out)]  # type: ignore[attr-defined]
    common = len(pixels[0] & pixels[1])
    assert 0 < common <= len(set(train) & set(held_out))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{common} of 6 validation images equal training images, as {root}/train/b/")


def test_copies_are_named_by_the_right_files_when_others_are_left_out(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "train" / "a" / "0.png").write_bytes(b"broken")
    (root / "test" / "a" / "0.png").write_bytes(b"broken")
    copied = root / "test" / "b" / "copy.png"
    copied.write_bytes((root / "train" / "b" / "4.png").read_bytes())
    final_splits(config(root, corrupt="skip"))
    assert caplog.messages[-1].startswith(
        f"1 of {2 * EACH} test images equal training images, as {copied} does {root}/train/b/4.png"
    )
