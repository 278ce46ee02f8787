"""What the commands that train have in common: options, the log, the live progress."""

import logging
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler

from nas.cli.render import console
from nas.config import Config
from results.remote import absolute
from search_space.errors import InputError

if TYPE_CHECKING:  # Ray and torch take seconds to load
    from nas.driver import Outcome
    from nas.engine import Listener

LogLevel = Literal["debug", "info", "warning", "error"]
TimeBudget = Annotated[
    str | None, typer.Option(help="Stop after this long, such as 90s, 30m or 2h; start again to go on.")
]
Address = Annotated[str | None, typer.Option(help="Ray cluster to run on; this machine, if not given.")]
Checkpoints = Annotated[
    str | None,
    typer.Option(
        help="Folder or URL that has the study's checkpoints, or gets them from now on; found by itself, if not given.",
        metavar="DIR",
        parser=absolute,
    ),
]
Logged = Annotated[LogLevel, typer.Option(help="What else is told on stderr, such as waiting for the DB's server.")]


def with_progress(
    run: "Callable[[timedelta | None, Listener], Outcome]",
    config: Config,
    *,
    time_budget: str | None,
    log_level: LogLevel,
) -> "Outcome":
    """Trains, telling of it on stderr, and returns how it came to its end.

    Args:
        run: trains for so long, and tells a listener.

    Raises:
        InputError: the time budget is not one.
    """
    budget = None if time_budget is None else _duration(time_budget)
    from nas.progress import Progress

    out = console(stderr=True)
    _log_to(out, log_level)
    # Ray has messages of its own, and stdout is for what came of it all.
    with redirect_stdout(sys.stderr), Progress(config, out, time_budget=budget) as progress:
        return run(budget, progress)


def with_checkpoints(config: Config, checkpoints: str | None) -> Config:
    """Return a configuration that puts the checkpoints of a new study at a place, if one is given."""
    return config if checkpoints is None else config.model_copy(update={"checkpoints": checkpoints})


def exit_by_signal(outcome: "Outcome") -> None:
    """Ends the command with the code of the signal that interrupted it, if one did."""
    if outcome.signal is not None:
        raise typer.Exit(128 + outcome.signal)


def _log_to(out: Console, level: LogLevel) -> None:
    """The log of senas's own packages, in between the lines of the progress."""
    handler = RichHandler(console=out, show_path=False, show_time=level == "debug")
    for package in ("nas", "trainers", "results", "search_space"):
        logger = logging.getLogger(package)
        logger.setLevel(level.upper())
        logger.handlers = [handler]


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None or float(match[1]) == 0:
        raise InputError(f"--time-budget must be a number and a unit, such as 90s, 30m or 2h, not '{text}'")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return timedelta(**{unit: float(match[1])})
