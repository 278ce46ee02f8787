import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as reference

from trainers.data.resampling import cut
from trainers.data.windows import NUMBERS, CentralWindow, RandomWindows

SIDES = st.integers(1, 40)


def pictures(count: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(count * height + width)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def with_pillow(image: Tensor, window: np.ndarray, size: tuple[int, int]) -> Tensor:
    height, width = image.shape[1:]
    top, left, tall, wide = window * (height, width, height, width)
    scaled = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(
        size[::-1], Image.Resampling.BILINEAR, box=(left, top, left + wide, top + tall)
    )
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1)


def largest_difference(one: Tensor, other: Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def drawn(count: int, scale: tuple[float, float] = (0.08, 1.0), seed: int = 0) -> RandomWindows:
    return RandomWindows(np.random.RandomState(seed).random_sample((count, NUMBERS)), scale)


@given(height=SIDES, width=SIDES, size=st.tuples(SIDES, SIDES), seed=st.integers(0, 99))
def test_windows_in_memory_are_those_of_pillow(height: int, width: int, size: tuple[int, int], seed: int) -> None:
    images = pictures(3, height, width)
    windows = drawn(3, seed=seed).within(height, width)
    results = cut(images, windows, size)
    assert results.dtype == torch.uint8
    assert results.shape == (3, 3, *size)
    for image, window, result in zip(images, windows, results, strict=True):
        assert largest_difference(result, with_pillow(image, window, size)) <= 1


@pytest.mark.parametrize("size", [(12, 12), (48, 48), (20, 31)])
def test_windows_of_whole_pixels_are_torchvisions_resized_crops(size: tuple[int, int]) -> None:
    images = pictures(4, 32, 40)
    for top, left, height, width in ((0, 0, 32, 40), (3, 5, 20, 24), (10, 0, 16, 16), (0, 8, 24, 32)):
        window = np.array([[top / 32, left / 40, height / 32, width / 40]]).repeat(4, axis=0)
        expected = reference.resized_crop(images, top, left, height, width, list(size), antialias=True)
        # Only within it do the two agree: torchvision cuts first, so what is beyond the edge has no part in it.
        down, across = (math.ceil(max(1.0, new / old)) for new, old in zip(size, (height, width), strict=True))
        inner = (..., slice(down, -down), slice(across, -across))
        assert largest_difference(cut(images, window, size)[inner], expected[inner]) <= 1
        if (height, width) == (32, 40):
            assert largest_difference(cut(images, window, size), expected) <= 1


@given(height=SIDES, width=SIDES, side=SIDES, more=st.integers(0, 10))
def test_the_centre_is_what_fills_the_frame_once_scaled(height: int, width: int, side: int, more: int) -> None:
    frame = side + more
    top, left, tall, wide = CentralWindow((side, side), (frame, frame)).within(height, width)
    scale = frame / min(height, width)  # as "resize the shorter side to frame" has it
    assert tall * height * scale == pytest.approx(side)
    assert wide * width * scale == pytest.approx(side)
    assert abs(top * height - (height - side / scale) / 2) <= 0.5 * (scale == 1) + 1e-9
    assert abs(left * width - (width - side / scale) / 2) <= 0.5 * (scale == 1) + 1e-9
    assert min(top, left) >= 0


def test_resize_and_centre_crop_is_torchvisions() -> None:
    images = pictures(2, 32, 32)
    window = CentralWindow((56, 56), (64, 64)).within(32, 32)
    expected = reference.center_crop(reference.resize(images, [64], antialias=True), [56])
    assert largest_difference(cut(images, window, (56, 56)), expected) <= 1


@pytest.mark.parametrize(("side", "frame"), [(32, 32), (24, 32), (23, 32)])
def test_pixels_that_keep_their_size_are_not_copied(side: int, frame: int) -> None:
    images = pictures(2, 32, 32)
    seen = cut(images, CentralWindow((side, side), (frame, frame)).within(32, 32), (side, side))
    begin = (32 - side) // 2
    assert torch.equal(seen, images[:, :, begin : begin + side, begin : begin + side])
    assert seen.untyped_storage().data_ptr() == images.untyped_storage().data_ptr()


@pytest.mark.parametrize(("height", "width"), [(50, 50), (40, 90), (300, 60)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.6, 0.9)])
def test_random_windows_are_distributed_like_torchvisions(height: int, width: int, scale: tuple[float, float]) -> None:
    count = 1500
    torch.manual_seed(0)
    image = torch.empty(1, height * 20, width * 20)  # fine enough that its rounding to pixels does not show
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(count)])
    theirs = theirs / (height * 20, width * 20, height * 20, width * 20)
    ours = drawn(count, scale).within(height, width)
    for column in range(4):
        # Rounded, as where no attempt fits all windows are one, but for the last digits.
        assert ks_2samp(ours[:, column].round(2), theirs[:, column].round(2)).pvalue > 1e-3


@given(height=st.integers(1, 500), width=st.integers(1, 500), seed=st.integers(0, 99), low=st.floats(0.01, 1))
def test_random_windows_lie_within_the_image(height: int, width: int, seed: int, low: float) -> None:
    windows = drawn(20, (low, 1.0), seed)
    found = windows.within(height, width)
    assert found.min() >= 0
    assert (found[:, :2] + found[:, 2:] <= 1 + 1e-12).all()
    ratios = found[:, 3] * width / (found[:, 2] * height)
    assert (ratios > 3 / 4 - 1e-9).all()
    assert (ratios < 4 / 3 + 1e-9).all()
    assert np.allclose([windows[image].within(height, width) for image in range(20)], found, rtol=0, atol=1e-12)
