"""The command analyze: which choices matter in a study, in which direction, and how far the search got."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from nas.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName
from nas.cli.render import console, plain_table, print_json

if TYPE_CHECKING:  # SciPy takes a second to load
    from results.analysis import Analysis, Effect

_MOST_POINTS = 20


def analyze(
    study: StudyName,
    epoch: Annotated[
        int | None,
        typer.Option(min=0, help="Compare accuracies after this epoch, not after the last that all trials reached."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of fANOVA's random forest.")] = 0,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show which choices matter and in which direction, how far early epochs foretell the last, and the progress.

    docs/understanding.md says what each number means and does not mean.
    """
    from results.analysis import analyze as analyse
    from results.study import open_study

    analysis = analyse(open_study(storage, study), seed=seed, epoch=epoch)
    if as_json:
        print_json(analysis.to_json())
    else:
        _print_analysis(analysis)


def _print_analysis(analysis: "Analysis") -> None:
    out = console()
    for table in _tables(analysis):
        out.print(Text(str(table.title), style="bold"))
        table.title = None  # which would be wrapped to the table's width
        out.print(table)
        out.print()
    for note in analysis.notes:
        out.print(f"- {note}", soft_wrap=True)


def _tables(analysis: "Analysis") -> Iterator[Table]:
    yield from _importance_tables(analysis)
    if analysis.effects:
        yield _effect_table(analysis.effects)
    if analysis.rungs:
        yield _rung_table(analysis)
    if analysis.hypervolume:
        yield _hypervolume_table(analysis)


def _importance_tables(analysis: "Analysis") -> Iterator[Table]:
    for objective in dict.fromkeys(row.objective for row in analysis.importances):
        table = plain_table(title=f"Which parameters matter for {objective}")
        _add_columns(table, "parameter", ">PED-ANOVA", ">fANOVA")
        for row in analysis.importances:
            if row.objective == objective:
                table.add_row(row.parameter, *(_share(value) for value in (row.ped_anova, row.fanova)))
        yield table


def _effect_table(effects: "Sequence[Effect]") -> Table:
    table = plain_table(title="In which direction: accuracy in percentage points, all else being equal")
    _add_columns(table, "factor", "level", "against", ">trials", ">against", ">difference", ">95% interval")
    for effect in effects:
        shown = effect.low > 0 or effect.high < 0
        table.add_row(
            effect.factor,
            effect.level,
            effect.reference,
            str(effect.trials),
            str(effect.reference_trials),
            Text(f"{100 * effect.difference:+.2f}", style="bold" if shown else ""),
            Text(f"{100 * effect.low:+.2f} to {100 * effect.high:+.2f}", style="bold" if shown else ""),
        )
    return table


def _rung_table(analysis: "Analysis") -> Table:
    table = plain_table(title="How early epochs foretell the last: Spearman's rank correlation of accuracies")
    _add_columns(table, ">after epoch", ">with epoch", ">trials", ">rho", ">95% interval")
    for row in analysis.rungs:
        table.add_row(
            str(row.epoch), str(row.last_epoch), str(row.trials), f"{row.rho:.2f}", f"{row.low:.2f} to {row.high:.2f}"
        )
    return table


def _hypervolume_table(analysis: "Analysis") -> Table:
    """The trials that made the front grow, the newest of them where they are many."""
    points = analysis.hypervolume
    grown = [
        point
        for before, point in pairwise([None, *points])
        if point is not None and (before is None or point.hypervolume > before.hypervolume)
    ]
    shown = grown[-_MOST_POINTS:]
    title = f"How the front grew: {len(grown)} of {len(points)} complete trials moved it"
    table = plain_table(title=title if len(shown) == len(grown) else f"{title}, the last {len(shown)} of them")
    _add_columns(table, ">trial", "ended (UTC)", ">hypervolume")
    for point in shown:
        when = f"{point.ended:%Y-%m-%d %H:%M:%S}" if point.ended else ""
        table.add_row(str(point.number), when, f"{point.hypervolume:.4f}")
    return table


def _add_columns(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
