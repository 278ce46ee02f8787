"""Images of all of Pillow's modes as RGB with 8 bits per channel; nothing here imports torch."""

import numpy as np
from PIL import Image, TiffImagePlugin

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_VISIBLE = 32
"""The least difference to a background, in grey levels, by which something is seen on it."""

_SIXTEEN_BITS = 2**16 - 1


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image in mode RGB.

    Grayscale with more than 8 bits is scaled by the range of its format. Transparent images are put on white, or on
    black if they would hardly be seen on white. Images without either are what ``image.convert("RGB")`` returns.

    Raises:
        ValueError: the range of the image's values is not known from its format.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I") or _is_signed(image):
        image = _with_8_bits(image)
    if image.has_transparency_data:
        return _on_a_background(image)
    return image.convert("RGB")


def _with_8_bits(image: Image.Image) -> Image.Image:
    """Return a grayscale image in mode L, or LA if one of its values stands for transparency."""
    greatest = _greatest_value(image)
    if greatest is None:
        signed = "signed " if _is_signed(image) else ""
        raise ValueError(
            f"its {signed}values of mode {image.mode} have no fixed range: convert it to 8 or 16 bits, unsigned"
        )
    values = np.asarray(image).astype(np.uint32)
    grays = (values * 255 + greatest // 2) // greatest
    if image.format == "TIFF" and image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # type: ignore[attr-defined]
        grays = 255 - grays  # zero is white, which Pillow minds with up to 8 bits only
    gray = Image.fromarray(grays.astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is None:
        return gray
    return Image.merge("LA", (gray, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))))


def _greatest_value(image: Image.Image) -> int | None:
    """Return the value of white, or None if the format does not fix it."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]  # type: ignore[attr-defined]
        return 2**bits - 1 if bits <= 16 and not _is_signed(image) else None
    if image.format == "FITS":  # its integers are signed, and mean what its header has them scaled to
        return None
    # Pillow has 16 bits of PNG and PPM in mode I too.
    known = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    return _SIXTEEN_BITS if known else None


def _is_signed(image: Image.Image) -> bool:
    if image.format != "TIFF":
        return False
    return 2 in image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, ())  # type: ignore[attr-defined]


def _on_a_background(image: Image.Image) -> Image.Image:
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(transparent, tuple) and max(transparent) > 255:
        # Of 16 bits, of which Pillow keeps the upper 8 in the pixels alone.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    if image.mode == "La":
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema()[0] == 255:
        return rgba.convert("RGB")
    on_white = _pasted(rgba, _WHITE)
    contrast = 255 - np.asarray(on_white).min()
    if contrast < _VISIBLE:
        on_black = _pasted(rgba, _BLACK)
        if np.asarray(on_black).max() > contrast:
            return on_black
    return on_white


def _pasted(rgba: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", rgba.size, background)
    canvas.paste(rgba, mask=rgba)
    return canvas
