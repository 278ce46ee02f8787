"""The control groups that limit this process, of version 1 and version 2."""

from collections.abc import Iterator
from pathlib import Path


def groups_of(controller: str, proc: Path = Path("/proc"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, from the innermost to the root.

    Every one of them can limit the process. A container usually sees its own group as the root. A job of a batch system
    lies in a group below it.

    Args:
        controller: of what is limited, such as ``memory``.
        proc: where the file system of processes is mounted.
        root: where that of control groups is mounted.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, path = line.split(":", maxsplit=2)
        if controllers == "" or controller in controllers.split(","):
            base = root if controllers == "" else root / controller
            innermost = base.joinpath(*Path(path).parts[1:])
            if ".." not in innermost.parts:  # a group outside of the container, which is not mounted
                yield from (folder for folder in (innermost, *innermost.parents) if folder.is_relative_to(base))
            else:
                yield base


def read_number(file: Path) -> int | None:
    """Return the whole number in a file, or None if there is no such file or it holds something else."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
