import pickle
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as reference

from search_space.errors import InputError
from trainers.augment import random_windows
from trainers.batches import scoring_batches, training_batches
from trainers.data.config import DataConfig
from trainers.data.images import channel_statistics
from trainers.data.splits import final_splits, fingerprint, search_splits
from trainers.data.stream import ImageStream
from trainers.recipe import Recipe
from trainers.seeds import generator

CLASSES, EACH = 3, 8
RECIPE = Recipe(augment=("random_resized_crop", "flip"), batch_size=5)


def smooth(seed: int, height: int, width: int) -> Image.Image:
    """A picture without edges, on which a shift of a fraction of a pixel hardly shows."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[0:1:height * 1j, 0:1:width * 1j]  # fmt: skip
    slants = random.uniform(-0.4, 0.4, (3, 2))
    waves = [np.sin(2 * np.pi * (a * rows + b * columns) + seed) for a, b in slants]
    return Image.fromarray((127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for part in ("train", "test"):
        for number in range(CLASSES * EACH):
            folder = root / part / "abc"[number // EACH]
            folder.mkdir(parents=True, exist_ok=True)
            height, width = 60 + 13 * number % 90, 70 + 29 * number % 90
            suffix, options = ("png", {}) if number % 3 == 0 else ("jpg", {"quality": 95})
            smooth(number, height, width).save(folder / f"{number:02}.{suffix}", **options)
    return root


@pytest.fixture
def broken(whole: Path, tmp_path: Path) -> Path:
    """The same, of which every fourth file of class a is cut short."""
    for file in whole.rglob("*.*"):
        copy = tmp_path / file.relative_to(whole)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        damaged = copy.parent.name == "a" and int(copy.stem) % 4 == 2
        copy.write_bytes(content[: len(content) // 2] if damaged else content)
    return tmp_path


def stream(root: Path, **options: object) -> ImageStream:
    given = {"name": "imagefolder", "root": root, "image_size": 24, "resize": 28, "stream": True, **options}
    found = final_splits(DataConfig.model_validate(given)).train
    assert isinstance(found, ImageStream)
    return found


def joined(batches: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def largest_difference(one: Tensor, other: Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def tolerated(data: ImageStream, index: int) -> int:
    """None, except that a JPEG is decoded at a half or less where that is enough."""
    return 6 if data.files.path(index).endswith("jpg") else 0


def threads_of_ours() -> int:
    return sum(thread.name.startswith("images") for thread in threading.enumerate())


def test_evaluation_sees_what_torchvision_resizes_and_crops(whole: Path) -> None:
    data = stream(whole)
    images, labels = joined(list(scoring_batches(data, 7)))
    assert labels.tolist() == data.labels.tolist() == sorted([0, 1, 2] * EACH)
    for index, image in enumerate(images):
        with Image.open(data.files.path(index)) as file:
            expected = reference.center_crop(reference.resize(file.convert("RGB"), [28]), [24])
            assert largest_difference(image, reference.pil_to_tensor(expected)) <= 8  # it rounds to whole pixels
            side = min(file.size) * 24 / 28
            left, top = ((length - side) / 2 for length in file.size)
            exact = file.convert("RGB").resize(
                (24, 24), Image.Resampling.BILINEAR, (left, top, left + side, top + side)
            )
        assert largest_difference(image, reference.pil_to_tensor(exact)) <= tolerated(data, index)


def test_evaluation_sees_what_it_would_in_memory(whole: Path) -> None:
    streamed, _ = joined(list(scoring_batches(stream(whole), 100)))
    held, _ = joined(list(scoring_batches(final_splits(_memory(whole)).train, 100)))
    assert largest_difference(streamed, held) <= 1


def _memory(root: Path) -> DataConfig:
    return DataConfig(name="imagefolder", root=root, image_size=24, resize=28, stream=False)


def test_a_random_window_is_cut_out_while_decoding(whole: Path) -> None:
    data = stream(whole)
    recipe = Recipe(augment=("random_resized_crop",), batch_size=6)
    order = torch.randperm(len(data), generator=generator(4, 1, "order"))
    for step, (images, labels) in enumerate(training_batches(data, recipe, 4, 1)):
        indices = order[6 * step : 6 * step + 6]
        assert torch.equal(labels, data.labels[indices])
        windows = random_windows(recipe, 6, generator(4, 1, f"windows/{step}"))
        assert windows is not None
        for place, index in enumerate(indices.tolist()):
            with Image.open(data.files.path(index)) as file:
                top, left, height, width = windows[place].within(file.height, file.width)
                box = (left * file.width, top * file.height, (left + width) * file.width, (top + height) * file.height)
                expected = file.convert("RGB").resize((24, 24), Image.Resampling.BILINEAR, box=box)
            assert largest_difference(images[place], reference.pil_to_tensor(expected)) <= tolerated(data, index)


@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (2, 1), (4, 5)])
def test_neither_threads_nor_reading_ahead_show(whole: Path, threads: int, ahead: int) -> None:
    data = stream(whole)
    expected = list(training_batches(data, RECIPE, 0, 3))
    assert [len(labels) for _, labels in expected] == [5] * 4
    for first_step in (0, 3):
        found = training_batches(replace(data, threads=threads, ahead=ahead), RECIPE, 0, 3, first_step)
        for (images, labels), (other_images, other_labels) in zip(found, expected[first_step:], strict=True):
            assert torch.equal(images, other_images)
            assert torch.equal(labels, other_labels)


def test_it_is_small_when_it_is_sent_and_gives_the_same(whole: Path) -> None:
    data = stream(whole)
    sent = pickle.dumps(data)
    assert len(sent) < 4000
    received = pickle.loads(sent)
    for (images, labels), (others, other_labels) in zip(
        training_batches(data, RECIPE, 0, 0), training_batches(received, RECIPE, 0, 0), strict=True
    ):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


def test_an_abandoned_epoch_leaves_no_threads(whole: Path) -> None:
    batches = training_batches(replace(stream(whole), threads=3), RECIPE, 0, 0)
    next(batches)
    assert threads_of_ours() > 0
    batches.close()
    assert threads_of_ours() == 0
    list(scoring_batches(stream(whole), 4))
    assert threads_of_ours() == 0


def test_a_corrupt_image_is_refused_by_name_and_leaves_no_threads(broken: Path) -> None:
    with pytest.raises(InputError, match=f"cannot read the image {broken}/train/a/02.jpg .*truncated"):
        list(scoring_batches(replace(stream(broken), threads=3), 4))
    assert threads_of_ours() == 0


def test_corrupt_images_are_left_out_each_time_and_named_once(broken: Path, whole: Path) -> None:
    data = stream(broken, corrupt="skip")
    assert data.left_out() == []
    kept = [index for index in range(len(data)) if index not in (2, 6)]
    images, labels = joined(list(scoring_batches(data, 4)))
    expected, _ = joined(list(scoring_batches(stream(whole), 4)))
    assert torch.equal(images, expected[kept])
    assert torch.equal(labels, data.labels[kept])
    for epoch in range(2):
        trained = list(training_batches(data, Recipe(batch_size=24), 0, epoch))
        assert [(len(images), len(labels)) for images, labels in trained] == [(22, 22)]
    assert data.left_out() == [f"{broken}/train/a/{name}" for name in ("02.jpg", "06.png")]
    assert data.to("cpu").left_out() == data.left_out()


def test_a_batch_of_nothing_is_an_error_in_training_alone(broken: Path) -> None:
    data = stream(broken, corrupt="skip")
    assert len(list(scoring_batches(data, 1))) == len(data) - 2
    with pytest.raises(InputError, match="none of the 1 images of a batch can be read"):
        list(training_batches(data, Recipe(batch_size=1), 0, 0))


def test_a_fingerprint_is_of_names_sizes_and_labels(whole: Path, broken: Path) -> None:
    base = stream(whole)
    assert fingerprint(base) == fingerprint(stream(whole)) == fingerprint(pickle.loads(pickle.dumps(base)))
    label = base.labels.clone()
    label[0] = 1
    others = [
        replace(base, labels=label),
        replace(base, num_classes=4),
        replace(base, files=base.files.of(np.arange(len(base))[::-1])),
        stream(broken),  # of other sizes
    ]
    assert len({fingerprint(other) for other in [base, *others]}) == 5
    moved = whole.rename(whole.with_name("moved"))
    found = fingerprint(stream(moved))
    moved.rename(whole)
    assert found == fingerprint(base)


def test_a_stream_is_split_like_what_is_in_memory(whole: Path) -> None:
    streamed = search_splits(_memory(whole).model_copy(update={"stream": True}))
    held = search_splits(_memory(whole))
    for one, other in ((streamed.train, held.train), (streamed.held_out, held.held_out)):
        assert torch.equal(one.labels, other.labels)
        images, _ = joined(list(scoring_batches(one, 100)))
        others, _ = joined(list(scoring_batches(other, 100)))
        assert largest_difference(images, others) <= 1


def test_normalisation_is_that_of_a_fixed_sample(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = stream(whole)
    seen, _ = joined(list(scoring_batches(data, 100)))
    assert channel_statistics(data.sample()) == channel_statistics([seen])  # of fewer than 2,000 all
    monkeypatch.setattr("trainers.data.stream._SAMPLED", 9)
    first, second = (torch.cat(list(data.sample())) for _ in range(2))
    assert torch.equal(first, second)
    chosen = [next(index for index in range(len(seen)) if torch.equal(seen[index], image)) for image in first]
    assert data.labels[chosen].bincount().tolist() == [3, 3, 3]


def test_images_of_their_own_size_must_all_have_it(tmp_path: Path) -> None:
    for name, side in (("a", 12), ("b", 12), ("b", 11)):
        (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "test").mkdir(exist_ok=True)
        smooth(side, side, side).save(tmp_path / "train" / name / f"{side}.png")
    for file in list((tmp_path / "train").iterdir()):
        (tmp_path / "test" / file.name).symlink_to(file)
    with pytest.raises(InputError, match=r"b/11.png is 11x11 and others are 12x12: set data.image_size"):
        stream(tmp_path, image_size=None, resize=None)
