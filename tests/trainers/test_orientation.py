import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from trainers.data.image_files import ImageFiles, decode, size_of
from trainers.data.windows import NUMBERS, RandomWindows

HEIGHT, WIDTH = 40, 64


def smooth(height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """A picture without symmetries, and with few details, so that a shift of a fraction of a pixel hardly shows."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    channels = [rows * 200, columns * 250, 120 + 100 * np.sin(3 * rows + 2 * columns)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def tag(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def save(picture: Image.Image, file: Path, orientation: int) -> Path:
    options = {"lossless": True} if file.suffix == ".webp" else {"quality": 95}
    picture.save(file, exif=tag(orientation), **options)
    return file


def shown(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def files_of(file: Path) -> ImageFiles:
    return ImageFiles(file.parent, np.array([file.name.encode()]))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif", "mpo"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_seen_as_viewers_show_it(suffix: str, orientation: int, tmp_path: Path) -> None:
    file = save(smooth(), tmp_path / f"image.{suffix}", orientation)
    expected = shown(file)
    assert expected.size == ((WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH))
    assert size_of(file) == (expected.height, expected.width)
    pixels, _ = decode(files_of(file), (expected.height, expected.width))
    assert (pixels[0].transpose(1, 2, 0) == np.asarray(expected)).all()


def move_exif_to_the_end(file: Path) -> None:
    content = file.read_bytes()
    begin = content.index(b"eXIf") - 4
    end = begin + 12 + struct.unpack(">I", content[begin : begin + 4])[0]
    trailer = content.index(b"IEND") - 4
    assert begin < content.index(b"IDAT")
    file.write_bytes(content[:begin] + content[end:trailer] + content[begin:end] + content[trailer:])


def test_a_png_may_say_it_after_its_pixels(tmp_path: Path) -> None:
    file = save(smooth(), tmp_path / "image.png", 6)
    before, _ = decode(files_of(file), (WIDTH, HEIGHT))
    move_exif_to_the_end(file)
    assert size_of(file) == (WIDTH, HEIGHT)
    after, _ = decode(files_of(file), (WIDTH, HEIGHT))
    assert (after == before).all()


def test_the_size_of_a_png_that_says_nothing_comes_from_its_header(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    smooth().save(file)
    content = bytearray(file.read_bytes())
    at = content.index(b"IDAT") + 4
    content[at : at + 20] = bytes(20)
    file.write_bytes(content)  # which cannot be decoded any more
    assert size_of(file) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("scale", [1, 3, 9])
def test_windows_are_of_the_shown_image(suffix: str, orientation: int, scale: int, tmp_path: Path) -> None:
    file = save(smooth(scale * HEIGHT + 1, scale * WIDTH + 3), tmp_path / f"image.{suffix}", orientation)
    expected = shown(file)
    windows = RandomWindows(np.random.RandomState(orientation).random_sample((5, NUMBERS)), (0.3, 1.0))
    pixels = np.empty((5, 3, 12, 16), dtype=np.uint8)
    assert files_of(file).read([0] * 5, windows, pixels) == []
    for place in range(5):
        top, left, height, width = windows[place].within(expected.height, expected.width)
        box = (left, top, left + width, top + height) * np.array([expected.width, expected.height] * 2)
        reference = expected.resize((16, 12), Image.Resampling.BILINEAR, box=tuple(box))
        difference = pixels[place].transpose(1, 2, 0).astype(int) - np.asarray(reference)
        assert np.abs(difference).max() <= (2 if suffix == "png" else 6)  # a JPEG is decoded at less than its size


@pytest.mark.parametrize("value", [0, 9, 200])
def test_an_orientation_that_is_none_changes_nothing(value: int, tmp_path: Path) -> None:
    file = save(smooth(), tmp_path / "image.png", value)
    assert size_of(file) == (HEIGHT, WIDTH)
    pixels, _ = decode(files_of(file), (HEIGHT, WIDTH))
    assert (pixels[0].transpose(1, 2, 0) == np.asarray(smooth())).all()


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM", b"Exif\0\0garbage!"])
def test_damaged_metadata_leave_the_image_as_it_is(exif: bytes, tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    smooth().save(file, exif=exif, quality=95)
    with Image.open(file) as image:
        expected = np.asarray(image)
    assert size_of(file) == (HEIGHT, WIDTH)
    pixels, _ = decode(files_of(file), (HEIGHT, WIDTH))
    assert (pixels[0].transpose(1, 2, 0) == expected).all()
