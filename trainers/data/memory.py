"""How much memory there is for what is about to be loaded."""

import os
from pathlib import Path

from trainers.control_groups import groups_of, read_number


def available_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The bytes that can be allocated without swapping, or None where the system does not say.

    In a container or a job of a batch system the machine's free memory can be far above what may be used, so the
    smaller counts.
    """
    bounds = [_of_machine(proc), *map(_of_group, groups_of("memory", proc, cgroup))]
    known = [bound for bound in bounds if bound is not None]
    return min(known) if known else _physical()


def _of_machine(proc: Path) -> int | None:
    kibibytes = _entry(proc / "meminfo", "MemAvailable:")
    return None if kibibytes is None else kibibytes * 1024


def _of_group(folder: Path) -> int | None:
    """Return the limit of a control group less its anonymous memory: its page cache is given up when needed."""
    for limit_file, used in (("memory.max", "anon"), ("memory.limit_in_bytes", "total_rss")):  # versions 2 and 1
        limit = read_number(folder / limit_file)
        if limit is not None:
            return max(0, limit - (_entry(folder / "memory.stat", used) or 0))
    return None


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
