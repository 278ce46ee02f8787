from pathlib import Path

from trainers.data.memory import available_memory

GIB = 2**30


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_the_smaller_of_machine_and_container_counts(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", meminfo="MemTotal: 99999999 kB\nMemAvailable: 8388608 kB\n")
    tight = write(tmp_path / "tight", memory_max=f"{3 * GIB}\n", memory_stat=f"anon {GIB}\nfile {GIB}\n")
    wide = write(tmp_path / "wide", memory_max=f"{100 * GIB}\n", memory_stat="anon 0\n")
    unlimited = write(tmp_path / "unlimited", memory_max="max\n", memory_stat="anon 0\n")
    assert available_memory(proc, tight) == 2 * GIB
    assert available_memory(proc, wide) == available_memory(proc, unlimited) == 8 * GIB
    assert available_memory(tmp_path / "none", tight) == 2 * GIB


def test_any_system_says_something_or_nothing(tmp_path: Path) -> None:
    found = available_memory(tmp_path / "none", tmp_path / "none")
    assert found is None or found > GIB // 8
    assert (available_memory() or GIB) > 0


def test_the_memory_of_a_job_in_a_group_below_the_root_counts(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", meminfo="MemAvailable: 8388608 kB\n")
    (proc / "self").mkdir()
    for version, names in (
        ("0::/slurm/job\n", {"memory.max": f"{3 * GIB}\n", "memory.stat": f"anon {GIB}\n"}),
        ("5:memory:/slurm/job\n", {"memory.limit_in_bytes": f"{3 * GIB}\n", "memory.stat": f"total_rss {GIB}\n"}),
    ):
        (proc / "self" / "cgroup").write_text(version)
        root = tmp_path / f"cgroup-{version[0]}"
        job = root / ("memory/slurm/job" if version[0] == "5" else "slurm/job")
        job.mkdir(parents=True)
        for name, text in names.items():
            (job / name).write_text(text)
        assert available_memory(proc, root) == 2 * GIB
