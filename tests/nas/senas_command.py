"""The command, run as a user runs it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import results
from results.programs import FORMATS
from search_space import InputError

TINY = """
backbone: {name: resnet8, options: {width: 4}}
data: {name: digits, limit: 400}
space: {position: [standard, pre, post, identity], ratio: [1, 2, 4]}
recipe: {lr: 0.1, batch_size: 32}
search: {trials: 12, epochs: 4, sampler: random, asha: {min_epochs: 1, eta: 2}}
"""


class Senas:
    """The command, run as a user runs it, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = f"sqlite:///{folder / 'senas.db'}"
        (folder / "tiny.yaml").write_text(TINY)

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if key != "SENAS_STORAGE"}
        return subprocess.Popen(
            [sys.executable, "-m", "nas", *words],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, err
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    @staticmethod
    def kill(process: subprocess.Popen[str]) -> None:
        """Ends the command and all that it started at once, with no chance to tidy up."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def copy(self, folder: Path) -> "Senas":
        """The same, to be gone on with elsewhere, with checkpoints of its own."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Senas(folder)

    def study(self, name: str = "tiny") -> results.Study:
        """The study as it is now."""
        return results.open_study(self.storage, name)

    def export(self) -> None:
        """The best of the study as architecture and weights, in the folder "best"."""
        study = self.study()
        best = study.best()
        assert best is not None
        results.export(study, best, self.folder / "best", without=FORMATS)

    def wait_until(
        self, holds: Callable[[list[results.TrialRecord]], bool], seconds: float = 120, study: str = "tiny"
    ) -> None:
        """Waits until something holds of a study's trials."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # The DB may be in the making, or its server away.
            with suppress(InputError):
                if holds(self.study(study).trials()):
                    return
            time.sleep(0.05)
        raise AssertionError("the search did not get that far")
