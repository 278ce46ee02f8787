"""Who runs a search with what: recorded in the study at every start."""

import platform
import socket
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

_RECORDED = ("senas", "torch", "torchvision", "ray", "optuna", "sqlalchemy")


def this_run() -> dict[str, Any]:
    """The time in UTC, the host, the versions of what computes, and the git revision of the working directory."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _RECORDED}},
        "git": git_revision(Path.cwd()),
    }


def git_revision(folder: Path) -> dict[str, Any] | None:
    """The revision that a folder is at and whether tracked files differ from it; None outside a repository."""
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        return {"revision": revision, "modified": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
