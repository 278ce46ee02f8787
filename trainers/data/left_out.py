"""What an image folder holds beside the images that are read, and how that is said; nothing here imports torch."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_NAMED = 3
_SUFFIXES_NAMED = 6


@dataclass(frozen=True)
class LeftOut:
    """The paths in a folder that no image is read from.

    Attributes:
        folder: what the paths are below.
        other: files in class folders without the suffix of an image format.
        outside: files beside the class folders.
        hidden: hidden files and folders.
        folders: what leads to a folder that is read by another path.
        repeated: files that are another one by a second name, each with that other.
    """

    folder: Path
    other: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    repeated: list[tuple[str, str]] = field(default_factory=list)

    def message(self) -> str | None:
        """Return what is left out in one line; None if nothing is."""
        twice = [f"{self._name(path)} is {self._name(other)}" for path, other in sorted(self.repeated)]
        parts = [
            f"{len(self.other)} without the suffix of an image format ({by_suffix(self.other)})" if self.other else "",
            self._part("beside the class folders", self.outside),
            self._part("hidden", self.hidden),
            self._part("leading to a folder that is read already", self.folders),
            f"{len(twice)} listed before by another name ({_some(twice)})" if twice else "",
        ]
        said = "; ".join(part for part in parts if part)
        return f"left out of {self.folder}: {said}" if said else None

    def _part(self, what: str, paths: Sequence[str]) -> str:
        return f"{len(paths)} {what} ({_some(sorted(map(self._name, paths)))})" if paths else ""

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self.folder)


def suffix_of(path: str) -> str:
    """Return the suffix of a file in lower case and with its dot; empty if it has none."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - millions of times


def by_suffix(paths: Sequence[str]) -> str:
    """Return how many files there are of each suffix, the most common first, as text."""
    counts = Counter(map(suffix_of, paths))
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count} {suffix or 'without a suffix'}" for suffix, count in common[:_SUFFIXES_NAMED]]
    rest = len(paths) - sum(count for _, count in common[:_SUFFIXES_NAMED])
    return ", ".join([*named, f"{rest} others"] if rest else named)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
