"""Ray for the time of a search: on this machine, or a cluster's; what a trial needs there, and how many fit."""

import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray
import torch

from nas import handshake, own_packages
from nas.config import Config, ResourcesConfig
from search_space.errors import InputError, first_line
from search_space.import_paths import is_import_path
from trainers.available_cpus import available_cpus

_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same to actors as to whoever typed them
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere unless the user asks for it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the study DB is the log
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # and the study DB the only state
    "TUNE_MAX_PENDING_TRIALS_PG": "1024",  # Ray's own limit is one at a time; ours is what fits
    "RAY_AIR_NEW_OUTPUT": "0",  # the legacy output is the one that can be silent; progress is ours
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # failures are recorded with their reason
}
_LOOK_EVERY_S = 1.0
_ANSWERS_WITHIN_S = 15.0

Needs = dict[str, float]
"""CPUs and GPUs, under the keys "cpu" and "gpu"."""


@contextmanager
def connected(address: str | None, config: Config) -> Iterator[None]:
    """Ray on this machine, or a connection to a cluster with senas's own code and the user's on its nodes.

    Raises:
        InputError: Ray does not start, or the cluster at the address does not take the connection.
    """
    with _environment(_SETTINGS):
        if ray.is_initialized():  # a driver that runs on the cluster is connected
            yield
            return
        environment: dict[str, Any] = {"env_vars": {"RAY_CHDIR_TO_TRIAL_DIR": "0"}}
        if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:  # a job brings its own code
            environment["worker_process_setup_hook"] = f"{own_packages.__name__}.{own_packages.hold_them.__name__}"
            if address is not None:
                environment["py_modules"] = [*_our_packages(), *_modules_of_the_user(config)]
        # Ray would count the CPUs of the whole machine.
        own = {"address": "local", "include_dashboard": False, "num_cpus": available_cpus()}
        where = {"address": address} if address else own
        try:
            with _own_signals():
                ray.init(**where, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)
        except (ConnectionError, ValueError, RuntimeError) as error:
            what = f"no Ray cluster answers at '{address}'" if address else "Ray does not start on this machine"
            raise InputError(f"{what}: {first_line(error)}") from error
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        logging.getLogger("ray.tune.tune").addFilter(_is_news)
        try:
            yield
        finally:
            ray.shutdown()


def check_that_it_answers(address: str) -> None:
    """Check within seconds that a Ray cluster answers, unless this process is connected to one.

    A signal ends the check at once.

    Args:
        address: what ``ray.init`` takes. Only ``HOST:PORT``, ``ray://HOST:PORT`` and ``auto`` are checked.

    Raises:
        InputError: no cluster answers; the message says why.
    """
    if ray.is_initialized() or address in ("", "local") or ("://" in address and not address.startswith("ray://")):
        return
    program = [sys.executable, "-P", handshake.__file__, address]
    try:
        ended = subprocess.run(
            program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONIOENCODING": "utf-8:replace"},
            timeout=_ANSWERS_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"something takes the connection but does not answer as Ray does within {_ANSWERS_WITHIN_S:g} s"
    else:
        if ended.returncode == 0:
            return
        reason = ended.stdout.strip() or f"the attempt ended with exit code {ended.returncode}"
    raise InputError(
        f"no Ray cluster answers at '{address}': {reason}. Start one by ray start --head, or leave out --address to "
        "run on this machine"
    )


def needs_of_a_trial(resources: ResourcesConfig, nodes: Iterable[Mapping[str, float]]) -> Needs:
    """Ray's resources for one trial; where nobody has said, a GPU if there is one."""
    gpus = resources.gpus_per_trial
    if gpus is None:
        gpus = float(any(node["gpu"] >= 1 for node in nodes))
    return {"cpu": resources.cpus_per_trial, "gpu": gpus}


def check_that_one_fits(needs: Needs, nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuses needs that no node meets.

    Raises:
        InputError: not one trial fits; the message says what there is.
    """
    if fitting(needs, nodes):
        return
    for key, needed in needs.items():
        most = max((node[key] for node in nodes), default=0)
        if needed > most:
            where = "" if len(nodes) == 1 else " on the largest node"
            raise InputError(
                f"resources.{key}s_per_trial is {needed:g}, but there are {most:g} {key.upper()}s{where}: lower it "
                "(on a cluster that grows when it is asked to, set resources.max_concurrent)"
            )
    raise InputError(f"no node has both {needs['cpu']:g} CPUs and {needs['gpu']:g} GPUs for a trial: lower either")


def fitting(needs: Needs, nodes: Iterable[Mapping[str, float]]) -> int:
    """How many trials fit on the nodes at once; each trial lies on one node."""
    return sum(min(math.floor(node[key] / needed + 1e-9) for key, needed in needs.items() if needed) for node in nodes)


def slots(needs: Needs) -> Callable[[], int]:
    """How many trials fit at once, looked up afresh as nodes come and go."""
    known = (-math.inf, 0)

    def now() -> int:
        nonlocal known
        if time.monotonic() - known[0] > _LOOK_EVERY_S:
            known = (time.monotonic(), fitting(needs, nodes_of_the_cluster()))
        return known[1]

    return now


def this_machine() -> list[dict[str, float]]:
    """What Ray would have on this machine, as the only node."""
    return [{"cpu": available_cpus(), "gpu": torch.cuda.device_count()}]


def nodes_of_the_cluster() -> list[dict[str, float]]:
    """What the nodes that are alive have."""
    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
    return [{"cpu": found.get("CPU", 0), "gpu": found.get("GPU", 0)} for found in alive]


def _is_news(record: logging.LogRecord) -> bool:
    """Ray repeats at the end which of its trials did not complete; the engine has told it as it happened."""
    return not record.getMessage().startswith("Trials did not complete")


def _our_packages() -> list[str]:
    """As paths, because a Ray client pickles the list."""
    return [package.__path__[0] for package in own_packages.PACKAGES]


def _modules_of_the_user(config: Config) -> list[str]:
    """Modules that the configuration names by import path and that lie in the working directory."""
    found = set()
    for text in _strings(config.to_dict()):
        if is_import_path(text):
            sys.path.append(str(Path.cwd()))
            try:
                spec = find_spec(text.partition(":")[0].partition(".")[0])
            finally:
                sys.path.pop()
            if spec is not None and spec.origin is not None:
                origin = Path(spec.origin)
                place = origin.parent if origin.name == "__init__.py" else origin
                if place.is_relative_to(Path.cwd()) and "site-packages" not in place.parts:
                    found.add(str(place))
    return sorted(found)


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _strings(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _strings(value)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the signal handlers of this process although Ray sets one for SIGTERM, which exits with code 15."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as end:
        raise SystemExit(128 + signal.SIGTERM if end.code == signal.SIGTERM else end.code) from end
    finally:
        signal.signal(signal.SIGTERM, former)


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time of a block; what the user has set stays."""
    added = {key: value for key, value in settings.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
