import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainers.batches import scoring_batches, training_batches
from trainers.data.images import ImageSet
from trainers.data.windows import CentralWindow
from trainers.recipe import Recipe

EVERYTHING = ("random_resized_crop", "flip", "cutout")
EACH = ("random_resized_crop", "crop", "flip", "cutout")


def numbered(count: int = 50) -> ImageSet:
    """Images whose labels are their numbers."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, 3, 15, 13), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(count), count, CentralWindow((12, 12), (13, 13)))


def recipe(*augment: str) -> Recipe:
    return Recipe.model_validate({"augment": augment, "batch_size": 8})


def equal(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)
    )


def test_an_epoch_is_full_batches_of_different_images() -> None:
    data = numbered()
    batches = list(training_batches(data, recipe(), 0, 0))
    assert [images.shape for images, _ in batches] == [(8, 3, 12, 12)] * 6
    chosen = torch.cat([labels for _, labels in batches])
    assert len(chosen.unique()) == 48
    for images, labels in batches:
        assert torch.equal(images, data.images[labels, :, 1:13, 0:12])  # the centre, at whole pixels


@pytest.mark.parametrize("augment", [(), EVERYTHING], ids=["plain", "everything"])
def test_from_any_step_on_it_is_the_unbroken_epoch(augment: tuple[str, ...]) -> None:
    data, chosen = numbered(), recipe(*augment)
    whole = list(training_batches(data, chosen, 3, 2))
    for step in range(7):
        torch.manual_seed(step)  # what else is drawn has no part in it
        assert equal(list(training_batches(data, chosen, 3, 2, step)), whole[step:])


def test_seed_and_epoch_and_step_decide() -> None:
    data, chosen = numbered(), recipe(*EVERYTHING)
    base = list(training_batches(data, chosen, 0, 0))
    for seed, epoch in ((1, 0), (0, 1)):
        other = list(training_batches(data, chosen, seed, epoch))
        assert not any(torch.equal(a, b) for (_, a), (_, b) in zip(base, other, strict=True))
    # Of one image many times over, what two steps do with it differs.
    same = ImageSet(data.images[:1].repeat(16, 1, 1, 1), torch.zeros(16, dtype=torch.int64), 1)
    for name in EACH:
        (first, _), (second, _) = training_batches(same, recipe(name), 0, 0)
        assert not torch.equal(first, second)


def test_a_random_window_is_scaled_to_what_evaluation_has() -> None:
    for images, _ in training_batches(numbered(), recipe("random_resized_crop"), 0, 0):
        assert images.shape == (8, 3, 12, 12)
        assert images.is_contiguous()


@pytest.mark.parametrize("size", [1, 7, 50, 60])
def test_scoring_sees_every_image_in_order(size: int) -> None:
    data = numbered()
    batches = list(scoring_batches(data, size))
    assert {len(labels) for _, labels in batches[:-1]} <= {size}
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(50))
    assert torch.equal(torch.cat([images for images, _ in batches]), data.images[:, :, 1:13, 0:12])


def test_training_leaves_the_images_as_they_were() -> None:
    data = numbered()
    before = data.images.clone()
    for name in EACH:
        list(training_batches(data, recipe(name), 0, 0))
    assert torch.equal(data.images, before)


def digest() -> str:
    batches = training_batches(numbered(), recipe("crop", "flip", "cutout"), 5, 1, 2)
    return hashlib.sha256(b"".join(part.numpy().tobytes() for batch in batches for part in batch)).hexdigest()


def test_a_fresh_process_gives_the_same_bytes() -> None:
    program = "import torch; torch.set_num_threads(2); import test_batches; print(test_batches.digest())"
    here = Path(__file__)
    environment = {"PYTHONPATH": f"{here.parent}:{here.parents[2]}"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=here.parent, env=environment
    )
    assert done.stdout.strip() == digest()
