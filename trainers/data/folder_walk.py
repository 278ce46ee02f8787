"""The files below a folder, through links too, and which of them are one file; nothing here imports torch."""

import heapq
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from trainers.data.image_files import out_of_reach

_STATS_AT_ONCE = 16
_STATS_PER_TASK = 256

Identity = tuple[int, int]
"""The device and inode of a file, which all of its names share."""


class FoundFile(NamedTuple):
    """A file that a walk came to.

    Attributes:
        path: where it is.
        inode: that of its entry, so a link's own.
        linked: whether it is a symbolic link, or below one.
    """

    path: str
    inode: int
    linked: bool


@dataclass(frozen=True)
class Walk:
    """What is below a folder.

    Attributes:
        files: all that are not hidden, in no order.
        hidden: the paths of hidden files and folders, which are not entered.
        repeated: the paths that lead to a folder which was read by another path.
    """

    files: list[FoundFile] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


def walk(folder: Path) -> Walk:
    """Return what is below a folder, reading each folder once, by a path without links where there is one.

    Raises:
        InputError: a folder cannot be read.
    """
    found = Walk()
    visited: set[Identity] = set()
    folders, links = [(str(folder), False)], list[str]()
    while folders or links:
        path, linked = folders.pop() if folders else (heapq.heappop(links), True)
        identity = _identity(path)
        if identity in visited:
            found.repeated.append(path)
            continue
        if identity is not None:
            visited.add(identity)
        for entry in entries(path):
            if entry.name.startswith("."):
                found.hidden.append(entry.path)
            elif not leads_to_folder(entry):
                found.files.append(FoundFile(entry.path, entry.inode(), linked or entry.is_symlink()))
            elif entry.is_symlink():
                heapq.heappush(links, entry.path)
            else:
                folders.append((entry.path, linked))
    return found


def same_files(files: Sequence[FoundFile]) -> list[list[FoundFile]]:
    """Return the groups of two or more that are one file, by path; in a group those without links come first."""
    suspects: Sequence[FoundFile] = files
    if not any(file.linked for file in files):  # then only equal inodes can be one file: most need no further look
        counts = Counter(file.inode for file in files)
        suspects = [file for file in files if counts[file.inode] > 1]
    groups = defaultdict(list)
    for file, identity in zip(suspects, identities([file.path for file in suspects]), strict=True):
        if identity is not None:
            groups[identity].append(file)
    return sorted(sorted(group, key=_linked_and_path) for group in groups.values() if len(group) > 1)


def identities(paths: Sequence[str]) -> list[Identity | None]:
    """Return the device and inode of the file that each path leads to; None where it leads to none."""
    parts = [paths[start : start + _STATS_PER_TASK] for start in range(0, len(paths), _STATS_PER_TASK)]
    with ThreadPoolExecutor(_STATS_AT_ONCE) as threads:  # that wait for a network's file system
        return [identity for found in threads.map(lambda part: list(map(_identity, part)), parts) for identity in found]


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what is directly in a folder, in no order.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise out_of_reach(folder, error) from error


def leads_to_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say; opening it as a file will tell
        return False


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - millions of times
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _linked_and_path(file: FoundFile) -> tuple[bool, str]:
    return file.linked, file.path
