import gzip
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from search_space.errors import InputError
from trainers.batches import scoring_batches
from trainers.data import splits as data
from trainers.data.config import KNOWN_DATASETS, DataConfig
from trainers.data.images import ImageSet, channel_statistics
from trainers.data.sources import Source
from trainers.data.splits import final_splits, fingerprint, search_splits
from trainers.data.stratified import stratified_sample
from trainers.data.stream import ImageStream

CLASS_SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def numbered_source(sizes: list[int]) -> Source:
    """A source whose image number n has the pixels n // 256 and n % 256."""
    labels = np.random.RandomState(0).permutation(np.repeat(np.arange(len(sizes)), sizes))

    def images(indices: np.ndarray) -> ImageSet:
        pixels = np.stack([indices // 256, indices % 256], axis=1).astype(np.uint8)[:, None, None, :]
        return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels[indices]), len(sizes))

    return Source(tuple("abcdefgh"[: len(sizes)]), labels, images)


def numbers(image_set: ImageSet) -> list[int]:
    return (image_set.images[:, 0, 0].long() @ torch.tensor([256, 1])).tolist()


@given(sizes=CLASS_SIZES, fraction=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_a_sample_keeps_every_share_to_within_one(sizes: list[int], fraction: float, seed: int) -> None:
    labels = numbered_source(sizes).labels
    count = round(fraction * len(labels))
    sample = stratified_sample(labels, count, seed)
    assert len(sample) == len(set(sample.tolist())) == count
    taken = np.bincount(labels[sample], minlength=len(sizes))
    assert (np.abs(taken - np.array(sizes) * count / len(labels)) < 1).all()
    assert (sample == stratified_sample(labels, count, seed)).all()


@given(
    sizes=st.lists(st.integers(10, 40), min_size=2, max_size=8),
    validation=st.floats(0.2, 0.8),
    limit=st.none() | st.integers(80, 200),
    seed=st.integers(0, 5),
)
def test_the_parts_are_disjoint_and_make_up_the_whole(
    sizes: list[int], validation: float, limit: int | None, seed: int
) -> None:
    source = numbered_source(sizes)
    config = DataConfig(name="digits", validation=validation, limit=limit, split_seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "open_source", lambda config, part: source)
        searched, final = search_splits(config), final_splits(config)
    train, held_out = numbers(searched.train), numbers(searched.held_out)
    assert not set(train) & set(held_out)
    assert sorted(train + held_out) == sorted(numbers(final.train))
    whole = len(source.labels)
    assert len(final.train) == min(limit or whole, whole)
    assert len(held_out) == round(validation * len(final.train))
    shares = np.bincount(source.labels[numbers(final.train)]) * len(held_out) / len(final.train)
    assert (np.abs(np.bincount(source.labels[held_out], minlength=len(sizes)) - shares) < 1).all()


def test_a_search_never_opens_the_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_source = data.open_source

    def recording(config: DataConfig, part: Any) -> Source:
        opened.append(part)
        return open_source(config, part)

    monkeypatch.setattr(data, "open_source", recording)
    search_splits(DataConfig(name="digits"))
    assert opened == ["train"]
    final_splits(DataConfig(name="digits"))
    assert opened == ["train", "train", "test"]


def test_digits_set_the_same_test_images_aside_for_every_search() -> None:
    first = final_splits(DataConfig(name="digits"))
    second = final_splits(DataConfig(name="digits", split_seed=9, limit=300))
    assert fingerprint(first.held_out) == fingerprint(second.held_out)
    assert (len(first.train), len(first.held_out)) == (1438, 359)
    assert first.train.images.amax() == 255
    assert first.held_out.labels.bincount().amin() >= 34


def test_the_seed_decides_the_split() -> None:
    prints = [fingerprint(search_splits(DataConfig(name="digits", split_seed=s)).train) for s in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_too_few_images_of_a_class_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    source = numbered_source([50, 50, 1])
    monkeypatch.setattr(data, "open_source", lambda config, part: source)
    with pytest.raises(InputError, match=r"no image of class 'c' is left for validation .* raise it"):
        search_splits(DataConfig(name="digits"))
    with pytest.raises(InputError, match=r"no image of class 'c' is left for training .* lower it"):
        search_splits(DataConfig(name="digits", validation=0.9))
    with pytest.raises(InputError, match=r"data.limit 10 leaves no image of class 'c'"):
        search_splits(DataConfig(name="digits", limit=10))


def test_a_fingerprint_sees_every_pixel_and_label() -> None:
    images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    base = fingerprint(ImageSet(images, labels, 2))
    changed = images.clone()
    changed[3, 0, 1, 1] = 1
    others = [ImageSet(changed, labels, 2), ImageSet(images, labels.flip(0), 2), ImageSet(images, labels, 3)]
    assert fingerprint(ImageSet(images.clone(), labels.clone(), 2)) == base
    assert base not in {fingerprint(other) for other in others}


def test_channel_statistics_are_those_of_the_pixels() -> None:
    images = torch.randint(0, 256, (20, 3, 5, 6), dtype=torch.uint8)
    images[:, 2] = 7
    found = channel_statistics(images.split(7))
    pixels = images.double()
    assert found.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist())
    assert found.std[:2] == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0)[:2].tolist())
    assert found.std[2] == 1.0


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2)),
    ],
)
def test_an_image_set_is_bytes_and_a_label_each(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must be"):
        ImageSet(images, labels, 2)


def write_idx(file: Path, array: np.ndarray) -> None:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(header + array.astype(np.uint8).tobytes())
    with gzip.open(f"{file}.gz", "wb") as packed:
        packed.write(file.read_bytes())


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_mnist_and_its_likes_are_read_from_their_files(name: str, folder: str, tmp_path: Path) -> None:
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    labels = np.arange(50) % 10
    pixels = np.broadcast_to(np.arange(50)[:, None, None], (50, 28, 28))
    for part, count in (("train", 50), ("t10k", 20)):
        write_idx(raw / f"{part}-images-idx3-ubyte", pixels[:count])
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels[:count])
    splits = final_splits(DataConfig(name=name, root=tmp_path))
    assert splits.train.images.shape == (50, 1, 28, 28)
    assert splits.held_out.images[:, 0, 0, 0].tolist() == list(range(20))
    assert splits.held_out.labels.tolist() == labels[:20].tolist()


@pytest.mark.parametrize("stream", [True, False])
def test_places365_is_read_from_its_lists(stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = torchvision.datasets.Places365
    monkeypatch.setattr(known, "_CATEGORIES_META", ("categories.txt", None))  # None: of any content
    lists = {"train-standard": ("train.txt", None), "val": ("val.txt", None)}
    monkeypatch.setattr(known, "_FILE_LIST_META", lists)
    (tmp_path / "categories.txt").write_text("".join(f"/c/{n:03} {n}\n" for n in range(365)))
    trained = [(f"/c/{n % 2:03}/{n:08}.jpg", n % 2) for n in range(8)]
    tested = [("Places365_val_00000001.jpg", 1), ("Places365_val_00000002.jpg", 0)]
    for name, folder, images in (("train", "data_256_standard", trained), ("val", "val_256", tested)):
        (tmp_path / f"{name}.txt").write_text("".join(f"{file} {label}\n" for file, label in images))
        for number, (file, _) in enumerate(images):
            path = tmp_path / folder / file.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (256, 256), (10 * number,) * 3).save(path, quality=100)
    config = DataConfig(name="places365", root=tmp_path, image_size=4, resize=5, stream=stream)
    splits = final_splits(config)
    assert isinstance(splits.train, ImageStream if stream else ImageSet)
    shades = [
        (int(image.float().mean().round()), int(label))
        for part in (splits.train, splits.held_out)
        for images, labels in scoring_batches(part, 3)
        for image, label in zip(images, labels, strict=True)
    ]
    assert shades == [(10 * n, n % 2) for n in range(8)] + [(0, 1), (10, 0)]
    assert splits.train.num_classes == 365


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_colour_sets_come_channels_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KNOWN_DATASETS[name]
    classes, channels_last = known.num_classes, name != "svhn"
    shape = (2 * classes, 32, 32, 3) if channels_last else (2 * classes, 3, 32, 32)
    pixels = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    labels = np.arange(2 * classes) % classes
    names = [str(label) for label in range(classes)]
    loaded = SimpleNamespace(data=pixels, targets=labels.tolist(), labels=labels, classes=names)
    monkeypatch.setattr(torchvision.datasets, name.upper(), lambda root, **options: loaded)
    (tmp_path / str(known.location)).touch()
    train = final_splits(DataConfig(name=name, root=tmp_path)).train
    expected = pixels.transpose(0, 3, 1, 2) if channels_last else pixels
    assert train.num_classes == classes
    assert (train.images.numpy() == expected).all()
    assert train.labels.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("labels", "side", "message"),
    [
        (range(1, 11), 32, r"labels of svhn's train part go from 1 to 10, not from 0 to 9"),
        (range(-1, 9), 32, r"go from -1 to 8, not from 0 to 9"),
        (range(10), 28, r"10 images of shape \(3, 28, 28\), not as many of shape \(3, 32, 32\): its files are damaged"),
        (range(9), 32, r"9 labels and 10 images"),
        ([5] * 10, 32, r"all images are of class '5': at least 2 classes are needed"),
    ],
)
def test_damaged_files_are_an_input_error(
    labels: Any, side: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SimpleNamespace(data=np.zeros((10, 3, side, side), dtype=np.uint8), labels=np.array(labels))
    monkeypatch.setattr(torchvision.datasets, "SVHN", lambda root, **options: loaded)
    (tmp_path / "train_32x32.mat").touch()
    with pytest.raises(InputError, match=message):
        search_splits(DataConfig(name="svhn", root=tmp_path))


@pytest.mark.parametrize(("labels", "message"), [([0, 2], "from 0 to 2, not from 0 to 1"), ([], "there are no images")])
def test_an_image_set_has_images_and_labels_of_its_classes(labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageSet(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), torch.tensor(labels, dtype=torch.int64), 2)


def test_studies_of_old_find_their_images_again() -> None:
    splits = search_splits(DataConfig(name="digits"))
    assert (fingerprint(splits.train), fingerprint(splits.held_out)) == ("a4653e1f3ec7", "499addc9bab1")


def test_a_damaged_download_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(InputError, match=f"cannot load cifar10 from {tmp_path}: "):
        search_splits(DataConfig(name="cifar10", root=tmp_path))
