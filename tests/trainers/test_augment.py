import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainers.augment import augment, crop, cutout, flip, random_windows
from trainers.data.windows import RandomWindows
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


@given(shape=SHAPES, side=st.integers(1, 6), data=st.data())
def test_a_cutout_is_a_black_square_and_nothing_else(
    shape: tuple[int, int, int, int], side: int, data: st.DataObject
) -> None:
    images = random_bytes(shape)
    corners = st.lists(st.integers(-6, 9), min_size=shape[0], max_size=shape[0])
    top, left = data.draw(corners), data.draw(corners)
    expected = images.clone()
    for image, y, x in zip(expected, top, left, strict=True):
        image[:, max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] = 0
    assert torch.equal(cutout(images, torch.tensor(top), torch.tensor(left), side), expected)


@pytest.mark.parametrize("change", ["crop", "flip", "cutout"])
def test_how_images_lie_in_memory_does_not_matter(change: str) -> None:
    images = random_bytes((16, 3, 8, 6))
    recipe = Recipe.model_validate({"augment": [change]})
    expected = augment(images, recipe, torch.Generator().manual_seed(0))
    kept = images.clone()
    for other in (images.to(memory_format=torch.channels_last), F.pad(images, (2, 2, 2, 2))[:, :, 2:-2, 2:-2]):
        assert torch.equal(augment(other, recipe, torch.Generator().manual_seed(0)), expected)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("names", [(), ("crop",), ("flip",), ("cutout",), ("cutout", "crop", "flip")])
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


def test_holes_are_centred_anywhere() -> None:
    images = torch.ones(6000, 1, 5, 3, dtype=torch.uint8)
    holes = augment(images, Recipe(augment=("cutout",), cutout_size=1), torch.Generator().manual_seed(0)) == 0
    assert (holes.sum(dim=(1, 2, 3)) == 1).all()
    assert holes.sum(dim=(0, 1)).amin() > 6000 / 15 * 0.8


def test_random_windows_are_drawn_where_the_recipe_names_them() -> None:
    def drawn(*names: str) -> RandomWindows | None:
        recipe = Recipe.model_validate({"augment": names, "crop_scale": [0.3, 0.5]})
        return random_windows(recipe, 4, torch.Generator().manual_seed(0))

    assert random_windows(Recipe(augment=("crop", "flip")), 4, torch.Generator()) is None
    first, last = drawn("random_resized_crop", "flip"), drawn("flip", "random_resized_crop")
    assert first is not None
    assert last is not None
    assert first.numbers.tolist() == last.numbers.tolist()
    areas = first.within(100, 100)[:, 2:].prod(axis=1)
    assert ((areas > 0.3) & (areas < 0.5)).all()
