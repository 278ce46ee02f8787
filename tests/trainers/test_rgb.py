import struct
from pathlib import Path
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image, ImageDraw

from search_space.errors import InputError
from trainers.data.image_files import ImageFiles, decode

HEIGHT, WIDTH = 6, 9
NOISE = np.random.RandomState(0)
GRAYS = NOISE.randint(0, 2**16, (HEIGHT, WIDTH)).astype(np.uint16)
COLORS = NOISE.randint(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
ALPHA = NOISE.randint(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)


def seen(file: Path, *, skip_corrupt: bool = False) -> np.ndarray:
    """What training gets of an image [H, W, 3]."""
    files = ImageFiles(file.parent, np.array([file.name.encode()]), skip_corrupt=skip_corrupt)
    with Image.open(file) as image:
        pixels, kept = decode(files, (image.height, image.width))
    assert kept == [0]
    return pixels[0].transpose(1, 2, 0)


def tiff(values: np.ndarray, *, order: str = "<", white_is_zero: bool = False) -> bytes:
    """An uncompressed grayscale TIFF, by its specification, of the array's own type."""
    sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = 8 * values.dtype.itemsize
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    return _tiff(data, values.shape, bits, sample_format, order=order, white_is_zero=white_is_zero)


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    rows = ["".join(f"{value:03x}" for value in row) for row in values]
    data = b"".join(bytes.fromhex(row + "0" * (len(row) % 2)) for row in rows)
    return _tiff(data, values.shape, 12, 1)


def _tiff(
    data: bytes, shape: tuple[int, ...], bits: int, sample_format: int, order: str = "<", white_is_zero: bool = False
) -> bytes:
    height, width = shape
    entries = [
        (256, width), (257, height), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 8),
        (277, 1), (278, height), (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    data += b"\0" * (len(data) % 2)
    header = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(data))
    directory = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries)
    return header + data + struct.pack(f"{order}H", len(entries)) + directory + bytes(4)


def gray(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=-1)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
def test_16_bits_of_gray_are_scaled_by_their_range(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"image.{suffix}"
    Image.fromarray(GRAYS).save(file)
    assert (seen(file) == gray(np.rint(GRAYS / 257))).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_is_read_by_its_bits_and_byte_order(order: str, dtype: type, tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    values = (GRAYS >> (16 - 8 * np.dtype(dtype).itemsize)).astype(dtype)
    file.write_bytes(tiff(values, order=order))
    assert (seen(file) == gray(np.rint(values * (255 / np.iinfo(dtype).max)))).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_inverted(dtype: type, tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    values = (GRAYS >> (16 - 8 * np.dtype(dtype).itemsize)).astype(dtype)
    file.write_bytes(tiff(values, white_is_zero=True))
    assert (seen(file) == gray(255 - np.rint(values * (255 / np.iinfo(dtype).max)))).all()


def test_12_bits_are_scaled_by_their_range(tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    values = GRAYS >> 4
    file.write_bytes(tiff_of_12_bits(values))
    assert (seen(file) == gray(np.rint(values / 4095 * 255))).all()


@pytest.mark.parametrize("greatest", [300, 1023, 65535])
def test_a_pgm_is_scaled_by_its_greatest_value(greatest: int, tmp_path: Path) -> None:
    file = tmp_path / "image.pgm"
    values = GRAYS.astype(np.int64) % (greatest + 1)
    file.write_bytes(b"P5 %d %d %d\n" % (WIDTH, HEIGHT, greatest) + values.astype(">u2").tobytes())
    assert np.abs(seen(file) - gray(values / greatest * 255)).max() <= 0.51


@pytest.mark.parametrize("suffix", ["png", "ppm"])
def test_16_bits_of_color_keep_their_brightness(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"image.{suffix}"
    values = NOISE.randint(0, 2**16, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    if suffix == "ppm":
        file.write_bytes(b"P6 %d %d 65535\n" % (WIDTH, HEIGHT) + values.astype(">u2").tobytes())
    else:
        file.write_bytes(png(values, color_type=2))
    assert np.abs(seen(file) - values / 257).max() <= 1


def png(values: np.ndarray, color_type: int, transparent: tuple[int, ...] | None = None) -> bytes:
    """A PNG of 16 bits per channel, by its specification."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, color_type, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", compress(rows)), chunk(b"IEND", b"")]
    if transparent is not None:
        chunks.insert(1, chunk(b"tRNS", struct.pack(">3H", *transparent)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        (GRAYS.astype(np.int8), "L"),
        (GRAYS.astype(np.int16), "I"),
        (GRAYS.astype(np.int32), "I"),
        (GRAYS.astype(np.uint32), "I"),
        (GRAYS.astype(np.float32), "F"),
    ],
)
def test_values_without_a_known_range_are_refused_by_their_mode(values: np.ndarray, mode: str, tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    file.write_bytes(tiff(values))
    with pytest.raises(InputError, match=f"cannot read the image {file} .*of mode {mode} have no fixed range"):
        seen(file)
    _, kept = decode(ImageFiles(tmp_path, np.array([b"image.tif"]), skip_corrupt=True), (HEIGHT, WIDTH))
    assert kept == []


def on(background: int, colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colors * share + background * (1 - share)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "tga", "jp2"])
def test_what_is_transparent_shows_white(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"image.{suffix}"
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(np.dstack([COLORS, ALPHA])).save(file, **options)
    assert np.abs(seen(file) - on(255, COLORS, ALPHA)).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_transparent_gray_shows_white(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"image.{suffix}"
    levels = COLORS[..., 0]
    Image.fromarray(np.dstack([levels, ALPHA])).save(file)
    assert np.abs(seen(file) - on(255, gray(levels), ALPHA)).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_premultiplied_colors_show_white(channels: int, tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    premultiplied = np.rint(COLORS[..., :channels] * (ALPHA[..., None] / 255)).astype(np.uint8)
    Image.fromarray(np.dstack([premultiplied, ALPHA])).save(file)
    unassociated, associated = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    file.write_bytes(file.read_bytes().replace(unassociated, associated))
    expected = np.broadcast_to(premultiplied + (255.0 - ALPHA[..., None]), COLORS.shape)
    assert np.abs(seen(file) - expected).max() <= 1


def test_a_transparent_color_shows_white(tmp_path: Path) -> None:
    levels = COLORS[..., 0] // 4
    Image.fromarray(levels).save(tmp_path / "l.png", transparency=7)
    assert (seen(tmp_path / "l.png") == gray(np.where(levels == 7, 255, levels))).all()
    picture = COLORS.copy()
    picture[:2] = (1, 2, 3)
    Image.fromarray(picture).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    expected = picture.copy()
    expected[:2] = 255
    assert (seen(tmp_path / "rgb.png") == expected).all()
    sixteen = GRAYS.copy()
    sixteen[3] = 4000
    Image.fromarray(sixteen).save(tmp_path / "sixteen.png", transparency=4000)
    assert (seen(tmp_path / "sixteen.png") == gray(np.where(sixteen == 4000, 255, np.rint(sixteen / 257)))).all()
    (tmp_path / "color.png").write_bytes(png(picture * np.uint16(257), 2, transparent=(257, 2 * 257, 3 * 257)))
    assert (seen(tmp_path / "color.png") == expected).all()


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_palette_with_transparency_shows_white(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"image.{suffix}"
    indices = NOISE.randint(0, 4, (HEIGHT, WIDTH)).astype(np.uint8)
    palette = np.array([(0, 0, 0), (200, 0, 0), (0, 90, 0), (10, 20, 250)], dtype=np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    image.save(file, transparency=2)
    expected = palette[indices]
    expected[indices == 2] = 255
    assert (seen(file) == expected).all()


@pytest.mark.parametrize("color", [0, 255, 128, 240])
def test_a_shape_in_alpha_alone_is_seen_whatever_its_color(color: int, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    shape = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(shape).ellipse((2, 1, 6, 4), fill=255)
    image = Image.new("RGBA", (WIDTH, HEIGHT), (color, color, color, 0))
    image.putalpha(shape)
    image.save(file)
    within, without = seen(file)[3, 4], seen(file)[0, 0]
    assert (within == color).all()
    assert without.tolist() == [0 if color > 223 else 255] * 3


def test_a_faint_shape_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    image = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
    image.putpixel((3, 3), (0, 0, 0, 20))
    image.save(file)
    assert seen(file)[3, 3].tolist() == [235] * 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_an_opaque_image_of_8_bits_is_pillows_own_rgb(mode: str, tmp_path: Path) -> None:
    file = tmp_path / ("image.png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else "image.tif")
    picture = Image.fromarray(COLORS)
    if mode == "PA":
        picture = picture.convert("P")
    picture.convert(mode).save(file)
    with Image.open(file) as image:
        assert image.mode == mode
        assert (seen(file) == np.asarray(image.convert("RGB"))).all()


def test_of_several_frames_the_first_is_seen(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "blue")]
    for suffix, options in (("gif", {}), ("webp", {"lossless": True}), ("png", {}), ("tif", {})):
        file = tmp_path / f"image.{suffix}"
        frames[0].save(file, save_all=True, append_images=frames[1:], **options)
        assert (seen(file) == (255, 0, 0)).all()
