"""The colours of drawings and charts, each on light and on dark ground."""

from collections.abc import Mapping

Shades = tuple[str, str]

GROUND: Mapping[str, Shades] = {
    "paper": ("#ffffff", "#0d1117"),
    "panel": ("#f4f6f8", "#161b22"),
    "ink": ("#1b1f24", "#e6edf3"),
    "muted": ("#5b636d", "#9aa4af"),
}

HUES: Mapping[str, Shades] = {
    "blue": ("#0072b2", "#56b4e9"),
    "orange": ("#d55e00", "#e8702a"),
    "green": ("#009e73", "#1fb58a"),
    "yellow": ("#e69f00", "#e69f00"),
}
"""Okabe and Ito's (2008), for every kind of colour vision."""
