import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainers.available_cpus import available_cpus
from trainers.control_groups import groups_of

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory):
    """Makes the folders of processes and control groups, from the file that names the groups and the files of these."""

    def make(of_process: str, **files: str) -> tuple[Path, Path]:
        proc, root = (tmp_path_factory.mktemp(name) for name in ("proc", "cgroup"))
        (proc / "self").mkdir()
        (proc / "self" / "cgroup").write_text(of_process)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return proc, root

    return make


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no CPU affinity")
def test_a_process_that_may_use_one_cpu_counts_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from trainers.available_cpus import available_cpus; print(available_cpus())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("of_process", "files"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}),
        ("0::/slurm/job_7/step_0\n", {"slurm/job_7/cpu.max": "150000 100000\n"}),
        ("0::/slurm/job_7\n", {"slurm/job_7/cpu.max": "max 100000\n", "slurm/cpu.max": "50000 100000\n"}),
        ("0::/../../outside\n", {"cpu.max": "100000 100000\n"}),
        ("4:cpu,cpuacct:/job\n0::/\n", {"cpu/job/cpu.cfs_quota_us": "100000", "cpu/job/cpu.cfs_period_us": "100000"}),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}),
    ],
    ids=["container", "job", "parent of the job", "group that is not mounted", "version 1 job", "version 1 container"],
)
def test_a_quota_of_less_than_two_cpus_leaves_one(system, of_process: str, files: dict[str, str]) -> None:
    assert available_cpus(*system(of_process, **files)) == 1


@pytest.mark.parametrize(
    ("of_process", "files"),
    [
        ("0::/\n", {}),
        ("0::/job\n", {"job/cpu.max": "max 100000\n", "other/cpu.max": "1 100000\n"}),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}),
        ("0::/\n", {"cpu.max": "100000000 100000\n"}),
    ],
    ids=["no limit", "limit of another group", "version 1 without a limit", "more than there are"],
)
def test_without_a_smaller_quota_all_cpus_of_the_process_count(system, of_process, files) -> None:
    assert available_cpus(*system(of_process, **files)) == ALL


@given(st.lists(st.sampled_from(["a", "b.slice", "job 7"]), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
def test_every_group_from_the_innermost_to_the_root_limits_a_process(system, parts: list[str]) -> None:
    proc, root = system(f"0::/{'/'.join(parts)}\n")
    expected = [root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    assert list(groups_of("cpu", proc, root)) == expected
