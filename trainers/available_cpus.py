"""How many CPUs this process may use."""

import os
from pathlib import Path

from trainers.control_groups import groups_of, read_number


def available_cpus(proc: Path = Path("/proc"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of CPUs that this process may use, which is at least 1.

    A batch system or a container can give a process fewer CPUs than the machine has: by its CPU affinity, as Slurm
    and ``taskset`` do, or by a quota of CPU time of its control group, as ``docker run --cpus`` does.
    """
    quotas = (_quota(folder) for folder in groups_of("cpu", proc, root))
    return max(1, int(min([_by_affinity(), *(quota for quota in quotas if quota is not None)])))


def _by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(folder: Path) -> float | None:
    """Return the CPUs that a control group may use at once, or None where it has no limit."""
    quota, period = _version_2(folder / "cpu.max") or _version_1(folder)
    return quota / period if quota and period and quota > 0 else None


def _version_2(file: Path) -> tuple[int, int] | None:
    """Return the quota and the period in a file, or None where there is no file or the quota is "max"."""
    try:
        quota, period = map(int, file.read_text().split())
    except (OSError, ValueError):
        return None
    return quota, period


def _version_1(folder: Path) -> tuple[int | None, int | None]:
    return read_number(folder / "cpu.cfs_quota_us"), read_number(folder / "cpu.cfs_period_us")
