"""A PostgreSQL server of the tests' own: started, stopped and started again as they need it."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any, Literal

_STOP = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresMissingError(RuntimeError):
    """PostgreSQL's server is not installed."""


class PostgresServer:
    """A cluster in a temporary folder, on a free port of the loopback; whoever connects is trusted."""

    def __init__(self) -> None:
        self._programs = _programs()
        # Short, because the path of a socket may have 107 bytes only.
        self._folder = Path(tempfile.mkdtemp(prefix="senas-pg-", dir="/tmp"))
        self._as_owner = _as_ordinary_user(self._folder)
        self._owner = "postgres" if self._as_owner else getpass.getuser()
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()
        self._run("initdb", "-D", self._data, "-U", self._owner, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        command = [self._programs / "postgres", "-D", self._data, "-k", self._folder, "-h", "127.0.0.1"]
        # -F: it need not survive a power cut, only a restart.
        command += ["-p", str(self._port), "-F", "-c", "shared_buffers=16MB", "-c", "autovacuum=off"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True, **self._as_owner
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server: in order, with every session ended, or at once, as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(_STOP[mode])
            self._process.wait(timeout=60)
            self._process = None

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server and starts it again at the same address."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stops the server for good and removes its files."""
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def new_database(self, like: str = "template1") -> str:
        """The URL of a database that nobody has used yet, with what the one of that name holds."""
        if self._process is None:
            self.start()
        name = f"study_{next(self._numbers)}"
        self._run("createdb", *self._address, "-U", self._owner, "-T", like, name)
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database by its name."""
        return f"postgresql+psycopg://{self._owner}@127.0.0.1:{self._port}/{database}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _address(self) -> tuple[str, ...]:
        return ("-h", "127.0.0.1", "-p", str(self._port))

    def _answers(self) -> bool:
        ready = [self._programs / "pg_isready", "-q", *self._address]
        return subprocess.run(ready, cwd=self._folder, check=False).returncode == 0

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as_owner,
        )


def _programs() -> Path:
    """The folder of the newest server that is installed; Debian keeps them off the PATH."""
    installed = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    newest = max(installed, key=lambda file: int(file.parts[-3]), default=None)
    found = newest or shutil.which("initdb")
    if found is None:
        raise PostgresMissingError(
            "these tests need PostgreSQL's server, and there is no initdb in /usr/lib/postgresql/*/bin or on the "
            "PATH: install it, on Debian and Ubuntu with `apt-get install postgresql`"
        )
    return Path(found).parent


def _as_ordinary_user(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as its own user, who has to own the folder."""
    if os.geteuid() != 0:
        return {}
    shutil.chown(folder, "postgres", "postgres")
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
