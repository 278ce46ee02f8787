"""How much memory there is for what is about to be loaded."""

import os
from pathlib import Path


def available_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The bytes that can be allocated without swapping, or None where the system does not say.

    In a container the machine's free memory can be far above what the container may use, so the smaller counts.
    """
    bounds = [bound for bound in (_of_machine(proc), _of_container(cgroup)) if bound is not None]
    return min(bounds) if bounds else _physical()


def _of_machine(proc: Path) -> int | None:
    kibibytes = _entry(proc / "meminfo", "MemAvailable:")
    return None if kibibytes is None else kibibytes * 1024


def _of_container(cgroup: Path) -> int | None:
    """The limit of a version 2 control group less its anonymous memory: its page cache is given up when needed."""
    try:
        limit = int((cgroup / "memory.max").read_text())
    except (OSError, ValueError):  # no control group, or the limit is "max", which is none
        return None
    return max(0, limit - (_entry(cgroup / "memory.stat", "anon") or 0))


def _entry(file: Path, key: str) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    fields = (line.split() for line in lines)
    return next((int(words[1]) for words in fields if words and words[0] == key), None)


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
