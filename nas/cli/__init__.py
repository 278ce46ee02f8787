"""The command ``senas``. Errors are one line on stderr: exit code 2 for bad input, 1 for a failure."""

import sys
import traceback

import typer
from typer.exceptions import TyperException

from nas.cli import evaluating, exporting, model, queries, reproducing, searching
from search_space.errors import InputError

app = typer.Typer(
    name="senas",
    help="Neural architecture search over the placement of Squeeze-and-Excitation blocks.",
    epilog="Any command takes --debug, which shows the traceback of an error.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("search")(searching.search)
app.command("studies")(queries.studies)
app.command("trials")(queries.trials)
app.command("show")(queries.show)
app.command("pareto")(queries.pareto)
app.command("export")(exporting.export)
app.command("evaluate")(evaluating.evaluate)
app.command("reproduce")(reproducing.reproduce)
app.command("cost")(model.cost)
app.command("space")(model.space)
app.command("variants")(model.variants)
app.command("backbones")(model.backbones)
app.command("recipes")(model.recipes)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
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


def _tell(message: str, error: Exception, debug: bool, *, code: int) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"senas: {' '.join(message.split())}", file=sys.stderr)
    return code
