"""Which weights a backbone begins with, as data; nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Channels = Literal["exact", "adapt"]

_USUAL_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar", ".pkl", ".npz", ".onnx", ".zip")


@dataclass(frozen=True)
class Weights:
    """Weights to load into a backbone.

    Attributes:
        source: a file, or the name of published weights.
        channels: "exact" refuses weights for images of other channels; "adapt" sums the kernels of RGB for one channel,
            and repeats and scales them for other numbers.
    """

    source: str
    channels: Channels = "exact"

    @property
    def file(self) -> Path | None:
        """The file, which may be missing; None for the name of published weights."""
        return Path(self.source).expanduser() if names_a_file(self.source) else None


def names_a_file(source: str) -> bool:
    """Return whether weights are a file: one that exists, or whatever is written as a path or as a file's name."""
    path = Path(source).expanduser()
    return path.is_file() or "/" in source or path.suffix.lower() in _USUAL_SUFFIXES
