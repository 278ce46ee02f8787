"""What is recorded of a run."""

import subprocess

from nas.provenance import git_revision, this_run


def git(folder, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True).stdout


def test_a_revision_is_told_and_whether_files_differ_from_it(tmp_path):
    assert git_revision(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert git_revision(tmp_path) is None  # nothing was committed yet
    (tmp_path / "a").write_text("a")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "a")
    revision = git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_revision(tmp_path) == {"revision": revision, "modified": False}
    (tmp_path / "new").write_text("untracked files are no part of it")
    assert git_revision(tmp_path) == {"revision": revision, "modified": False}
    (tmp_path / "a").write_text("b")
    assert git_revision(tmp_path) == {"revision": revision, "modified": True}


def test_a_run_says_who_ran_it_with_what():
    run = this_run()
    assert run["versions"].keys() >= {"python", "senas", "torch", "ray", "optuna", "sqlalchemy"}
    assert run["host"]
    assert run["started"].endswith("+00:00")
