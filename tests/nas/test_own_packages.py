"""A user's modules that have the names of ours."""

import subprocess
import sys
from pathlib import Path

import pytest
from senas_command import TINY

import results


@pytest.mark.slow
def test_modules_of_the_user_with_our_names_are_not_in_the_way(tmp_path: Path) -> None:
    """As the command on the path, which has no working directory among the folders of modules."""
    for name in ("nas", "results", "search_space", "trainers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('this is the module of the user')")
    (tmp_path / "tiny.yaml").write_text(TINY)
    command, storage = Path(sys.executable).with_name("senas"), f"sqlite:///{tmp_path / 'senas.db'}"
    for words in (["search", "tiny.yaml", "--trials", "1"], ["report", "tiny"]):
        subprocess.run([command, *words, "--storage", storage], cwd=tmp_path, check=True)
    assert [trial.state for trial in results.open_study(storage, "tiny").trials()] == ["COMPLETE"]
    assert (tmp_path / "tiny-report.html").exists()
