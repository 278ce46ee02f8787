"""The command ``senas``. Errors are one line on stderr: exit code 2 for bad input, 1 for a failure.

A command's module is loaded when the command is run, so that none waits for what only another one needs.
"""

import atexit
import os
import signal
import sys
import threading
import traceback
from collections import UserDict
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from nas.cli.streams import secure_streams
from search_space.errors import InputError

COMMANDS = {
    "search": (
        "nas.cli.searching:search",
        "Run a search, or go on with it: nothing that has finished is run again.",
    ),
    "studies": (
        "nas.cli.queries:studies",
        "List the studies in the DB: trials by state, the best value of the first objective, front size, times.",
    ),
    "trials": (
        "nas.cli.queries:trials",
        "List a study's trials, filtered and sorted.",
    ),
    "show": (
        "nas.cli.queries:show",
        "Show one trial: its architecture drawn site by site, curve, cost, checkpoint.",
    ),
    "pareto": (
        "nas.cli.queries:pareto",
        "Show the front: complete trials that no other beats in every objective, and the baselines beside it.",
    ),
    "analyze": (
        "nas.cli.analyzing:analyze",
        "Show which choices matter and in which direction, how far early epochs foretell the last, and the progress.",
    ),
    "excitation": (
        "nas.cli.excitation:excitation",
        "Study what the SE blocks of an exported network do: their gates, class by class (arXiv 1709.01507, 7.2).",
    ),
    "report": (
        "nas.cli.reporting:report",
        "Write a study as one self-contained web page: the best architecture first, then what it rests on.",
    ),
    "plot": (
        "nas.cli.reporting:plot",
        "Draw one chart of a study into a PNG or SVG file.",
    ),
    "compare": (
        "nas.cli.studies:compare",
        "Compare studies: their trials, fronts, hypervolumes, and the best of each at equal cost.",
    ),
    "copy": (
        "nas.cli.studies:copy",
        "Copy a study to another study DB, or within one: all of it, as it is at one moment.",
    ),
    "delete": (
        "nas.cli.studies:delete",
        "Delete a study from the DB, after asking. Its checkpoints and exports stay on disk.",
    ),
    "dashboard": (
        "nas.cli.studies:dashboard",
        "Serve optuna-dashboard for the DB, to this machine only, until Ctrl-C.",
    ),
    "export": (
        "nas.cli.exporting:export",
        "Write the best architecture, or that trial's, with its weights as files that anyone can load.",
    ),
    "evaluate": (
        "nas.cli.evaluating:evaluate",
        "Train an architecture in full, over several seeds, and score it on the test set, beside the baselines.",
    ),
    "reproduce": (
        "nas.cli.reproducing:reproduce",
        "Train the rows of a published table, and print what comes of it beside what was published.",
    ),
    "cost": (
        "nas.cli.model:cost",
        "Price a network before it is built: FLOPs, parameters, memory, and SE's share of them.",
    ),
    "space": (
        "nas.cli.model:space",
        "Show what a configuration searches: sites, choices, number of distinct architectures, cost range.",
    ),
    "variants": (
        "nas.cli.model:variants",
        "List the SE variants that a space can offer: what each computes, which options it takes, its paper.",
    ),
    "backbones": (
        "nas.cli.model:backbones",
        "List the backbones by name, with the image each was published for and its options.",
    ),
    "recipes": (
        "nas.cli.model:recipes",
        "List the training recipes that come along, or print one as YAML.",
    ),
}
"""By a command's name, its function, and the first line of that function's docstring, for the list of commands."""

_LOOK: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}


class _Commands(UserDict[str, Any]):
    """The commands by name, each made when it is taken."""

    def __getitem__(self, name: str) -> Any:
        module, _, function = self.data[name][0].partition(":")
        alone = typer.Typer(**_LOOK)
        alone.command(name)(getattr(import_module(module), function))
        return typer.main.get_command(alone)


class _Senas(TyperGroup):
    """The group of all commands, which lists them without loading any."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands(COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the table."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands in the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


app = typer.Typer(
    name="senas",
    cls=_Senas,
    help="Neural architecture search over the placement of Squeeze-and-Excitation blocks.",
    epilog="Any command takes --debug, which shows the traceback of an error.",
    **_LOOK,
)


@app.callback()
def _senas() -> None:
    """Typer makes a group of what has a callback."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Carries out a command line, and raises SystemExit with its exit code."""
    # As for Ctrl-C, what is half made is cleared away.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)
    given = sys.argv[1:] if arguments is None else arguments
    words = [word for word in given if word != "--debug"]
    debug = len(words) < len(given)
    try:
        code = app(words or ["--help"], prog_name="senas", standalone_mode=False)
    except (InputError, TyperException) as error:
        code = _tell(str(error) if isinstance(error, InputError) else error.format_message(), error, debug, code=2)
    except Exception as error:
        hint = "" if debug else " (--debug shows where)"
        code = _tell(f"{type(error).__name__}: {error}{hint}", error, debug, code=1)
    sys.exit(code)


def run() -> NoReturn:
    """The process of the command ``senas``.

    It ends without Python's own end, which looks at every object once more and takes all modules apart: a quarter of a
    second after ten thousand trials were read, up to two where torch and Ray were loaded.
    """
    secure_streams()
    try:
        main()
    except SystemExit as end:
        atexit._run_exitfuncs()
        code = int(end.code or 0)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError as error:  # such as a full disk, of which main has told if it failed there
                if not code:
                    with suppress(OSError):
                        _tell(f"{type(error).__name__}: {error}", error, debug=False, code=1)
                    code = 1
        os._exit(code)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _tell(message: str, error: Exception, debug: bool, *, code: int) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"senas: {' '.join(message.split())}", file=sys.stderr)
    return code
