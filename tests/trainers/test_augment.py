import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainers.augment import augment, crop, flip
from trainers.recipe import Recipe

SHAPES = st.tuples(st.integers(1, 5), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))


def random_bytes(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(1, 256, shape, dtype=torch.uint8)


@given(shape=SHAPES, padding=st.integers(1, 4), data=st.data())
def test_a_crop_is_a_window_of_the_padded_image(
    shape: tuple[int, int, int, int], padding: int, data: st.DataObject
) -> None:
    images = random_bytes(shape)
    count, _, height, width = shape
    offsets = st.lists(st.integers(0, 2 * padding), min_size=count, max_size=count)
    top, left = data.draw(offsets), data.draw(offsets)
    cropped = crop(images, torch.tensor(top), torch.tensor(left), padding)
    assert cropped.shape == images.shape
    for image, result, y, x in zip(images, cropped, top, left, strict=True):
        padded = F.pad(image, (padding,) * 4)
        assert torch.equal(result, padded[:, y : y + height, x : x + width])


def test_a_centred_crop_changes_nothing() -> None:
    images = random_bytes((3, 3, 8, 6))
    assert torch.equal(crop(images, torch.full((3,), 4), torch.full((3,), 4), 4), images)


@given(shape=SHAPES, data=st.data())
def test_a_flip_mirrors_the_chosen_and_undoes_itself(shape: tuple[int, int, int, int], data: st.DataObject) -> None:
    images = random_bytes(shape)
    chosen = torch.tensor(data.draw(st.lists(st.booleans(), min_size=shape[0], max_size=shape[0])))
    flipped = flip(images, chosen)
    assert torch.equal(flipped[chosen], images[chosen].flip(-1))
    assert torch.equal(flipped[~chosen], images[~chosen])
    assert torch.equal(flip(flipped, chosen), images)


@pytest.mark.parametrize("names", [(), ("crop",), ("flip",), ("crop", "flip")])
def test_a_generator_decides_everything(names: tuple[str, ...]) -> None:
    images = random_bytes((64, 3, 8, 8))
    recipe = Recipe.model_validate({"augment": names})

    def once(seed: int) -> Tensor:
        return augment(images, recipe, torch.Generator().manual_seed(seed))

    assert once(0).dtype == torch.uint8
    assert torch.equal(once(0), once(0))
    assert torch.equal(once(0), once(1)) == (names == ())


def test_half_of_the_images_are_flipped_and_every_shift_occurs() -> None:
    images = torch.arange(9, dtype=torch.uint8).reshape(1, 1, 3, 3).expand(4000, -1, -1, -1) + 1
    generator = torch.Generator().manual_seed(0)
    flipped = augment(images, Recipe(augment=("flip",)), generator)
    assert (flipped != images).any(dim=(1, 2, 3)).float().mean().item() == pytest.approx(0.5, abs=0.03)
    shifted = augment(images, Recipe(augment=("crop",), crop_padding=1), generator)
    centres, counts = shifted[:, 0, 1, 1].unique(return_counts=True)
    assert centres.tolist() == list(range(1, 10))
    assert counts.amin() > 4000 / 9 * 0.8
