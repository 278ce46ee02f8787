"""A chart as a picture: PNG or SVG, by vl-convert, which needs neither a browser nor a network."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import altair as alt

from results.files import write_bytes
from search_space.errors import InputError

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""The version of Vega-Lite that altair writes, such as "6.4"."""

_PIXELS_PER_INCH = 144
"""Twice as many pixels as an inch on screen has: sharp in print too."""


def save(chart: alt.TopLevelMixin, file: Path) -> None:
    """Draws a chart into a file that is never seen half written; its suffix says the format.

    Raises:
        InputError: the suffix is neither .png nor .svg, or the file cannot be written.
    """
    draw = _FORMATS.get(file.suffix.lower())
    if draw is None:
        raise InputError(f"{file} is of no kind that a chart is written as: name it .png or .svg")
    write_bytes(file, draw(chart.to_dict()))


def _png(spec: Mapping[str, Any]) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(dict(spec), vl_version=VEGA_LITE, ppi=_PIXELS_PER_INCH))


def _svg(spec: Mapping[str, Any]) -> bytes:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(dict(spec), vl_version=VEGA_LITE)).encode()


_FORMATS: Mapping[str, Callable[[Mapping[str, Any]], bytes]] = {".png": _png, ".svg": _svg}
