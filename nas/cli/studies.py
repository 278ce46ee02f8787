"""Commands on whole studies: copy, delete, compare, and dashboard, which shows all of a DB in the browser."""

import sys
from collections import Counter
from socketserver import ThreadingMixIn
from typing import Annotated
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer
from rich.table import Table

from nas.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName
from nas.cli.render import COUNTED_STATES, console, count, plain_table, print_json, short_place
from results.best import value_text
from results.comparing import Comparison
from results.comparing import compare as compare_studies
from results.database import parse_url, reading, shown
from results.schema import check_schema
from results.study import checkpoints_of, find_study, open_study, studies
from results.study_names import check_study_name
from results.tables import Chosen, study_ids, trial_rows
from search_space.errors import InputError

_LOOPBACK = "127.0.0.1"


def copy(
    study: StudyName,
    to: Annotated[str, typer.Option(help="URL of the study DB to copy to.", metavar="URL", show_default=False)],
    new_name: Annotated[str | None, typer.Option("--as", help="Name of the copy, if not the study's.")] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Copy a study to another study DB, or within one: all of it, as it is at one moment.

    The study is only read, and a search may be writing it. The other DB is made if it does not exist.
    """
    if new_name is not None:
        check_study_name(new_name, otherwise="give the copy another by --as NAME")
    _check_that_there_is(study, storage)  # before a DB is made for it
    from nas.storage import open_storage, writing_engine
    from results.copying import copy_study

    name = study if new_name is None else new_name
    open_storage(to)
    copy_study(storage, study, writing_engine(to), name)
    out = console()
    out.print(f"Copied study '{study}' to '{name}' in {shown(parse_url(to))}: {_counted(to, name)}", soft_wrap=True)
    if (place := _checkpoints(to, name)) is not None:
        out.print(f"Both have their checkpoints in {place}: go on with one of the two only.", soft_wrap=True)


def delete(
    study: StudyName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Delete a study from the DB, after asking. Its checkpoints and exports stay on disk.

    A study that a search is writing is not deleted.
    """
    _check_that_there_is(study, storage)
    if not yes and not sys.stdin.isatty():
        raise InputError(f"there is no terminal to ask at whether to delete study '{study}': say so by --yes")
    import optuna

    from nas.lease import Lease
    from nas.storage import failures_explained, open_storage

    out = console()
    with failures_explained(storage), Lease.take(storage, study, tell=console(stderr=True).print):
        out.print(_what_is_lost(storage, study), soft_wrap=True)
        if not yes and not _confirmed():
            out.print("Nothing is deleted.")
            raise typer.Exit(1)
        optuna.delete_study(study_name=study, storage=open_storage(storage))
    out.print(f"Deleted study '{study}'.", soft_wrap=True)


def compare(
    names: Annotated[list[str], typer.Argument(metavar="STUDY", help="Names of studies.", show_default=False)],
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Compare studies: their trials, fronts, hypervolumes, and the best of each at equal cost."""
    found = compare_studies([open_study(storage, name) for name in names])
    if as_json:
        print_json(found.to_json())
    else:
        _print_comparison(found)


def dashboard(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 for any that is free.")] = 8080,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Serve optuna-dashboard for the DB, to this machine only, until Ctrl-C."""
    studies(storage)  # what is no study DB is told now, and not made into one
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError as error:
        raise InputError(
            f"the dashboard needs the Python package '{error.name}': pip install 'senas[dashboard]'"
        ) from error
    from nas.storage import open_storage

    try:
        server = make_server(_LOOPBACK, port, wsgi(open_storage(storage)), _Server, _SilentHandler)
    except OSError as error:
        raise InputError(f"port {port} cannot be used: {error.strerror}; name another by --port") from error
    with server:
        out = console()
        out.print(f"http://{_LOOPBACK}:{server.server_port}/dashboard/  (Ctrl-C ends it)", soft_wrap=True)
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            out.print()


class _Server(ThreadingMixIn, WSGIServer):
    """One request does not wait for another; those that run end with the command."""

    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def _check_that_there_is(study: str, storage: str) -> None:
    with reading(storage) as connection:
        check_schema(connection)
        find_study(connection, study)


def _counted(storage: str, study: str) -> str:
    """How many trials a study has, such as "40 trials (17 complete, 23 pruned)"."""
    with reading(storage) as connection:
        trials = trial_rows(connection, Chosen(study_ids(connection)[study]))
    states = ", ".join(f"{number} {state.lower()}" for state, number in Counter(row.state for row in trials).items())
    return f"{len(trials)} trials" + (f" ({states})" if states else "")


def _checkpoints(storage: str, name: str) -> str | None:
    """Where a study's checkpoints lie, as one would type it; None if senas did not make the study."""
    return short_place(checkpoints_of(storage, name))


def _what_is_lost(storage: str, name: str) -> str:
    lost = f"Study '{name}' in {shown(parse_url(storage))}: {_counted(storage, name)}"
    place = _checkpoints(storage, name)
    return lost if place is None else f"{lost}\nNot deleted: its checkpoints in {place}, and what was exported."


def _confirmed() -> bool:
    try:
        return typer.confirm("Delete it?")
    except typer.Abort:  # Ctrl-C, or the end of the input
        print()
        return False


def _print_comparison(found: Comparison) -> None:
    out = console()
    out.print(_figures(found))
    for note in found.notes:
        out.print(note, soft_wrap=True)
    if found.levels:
        first = found.objectives[0].name
        named = f"{found.scored_by} accuracy" if first == "accuracy" else first
        out.print(f"\nBest {named} among trials of at most so many FLOPs")
        out.print(_levels(found))


def _figures(found: Comparison) -> Table:
    table = plain_table()
    names, first = [study.name for study in found.studies], found.objectives[0].name
    table.add_column("study")
    for title in (
        *COUNTED_STATES,
        f"best {first}",
        "front",
        "hypervolume",
        "of joint front",
        *(f"covers {n}" for n in names),
    ):
        table.add_column(title, justify="right")
    for study in found.studies:
        table.add_row(
            study.name,
            *(str(study.trials[state]) for state in COUNTED_STATES.values()),
            value_text(first, study.best_value),
            str(study.front_size),
            f"{study.hypervolume:.4f}",
            _percent(study.share),
            *(_percent(study.covers.get(name)) for name in names),
        )
    return table


def _levels(found: Comparison) -> Table:
    table, first = plain_table(), found.objectives[0].name
    for title in ("FLOPs", *(study.name for study in found.studies)):
        table.add_column(title, justify="right")
    for level in found.levels:
        table.add_row(count(level.flops), *(value_text(first, level.values[study.name]) for study in found.studies))
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
