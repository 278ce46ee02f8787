"""Commands that read the study DB: studies, trials, show, pareto. They load neither torch nor ray."""

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.formats import Format, format_of, write_trials
from nas.cli.options import DEFAULT_STORAGE, AsJson, MaxFlops, MaxParams, Storage, StudyName, SvgFile
from nas.cli.render import (
    COUNTED_STATES,
    accuracy_text,
    console,
    count,
    plain_table,
    print_json,
    short_place,
    sparkline,
    trial_table,
    value_table,
)
from results.best import value_text
from results.class_names import FEW_CLASSES, one_line
from results.database import uncollected
from results.query.language import split_names
from results.records import TrialRecord
from results.study import Study, StudySummary, open_study
from results.study import studies as list_studies
from results.study_names import study_command
from search_space.errors import InputError

_SHOWN = 50
"""How many trials a table has for people who have not said how many."""


def studies(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the studies in the DB: trials by state, the best value of the first objective, front size, times."""
    found = list_studies(storage)
    if as_json:
        print_json([study.to_json() for study in found])
        return
    table = plain_table()
    firsts = {study.objective for study in found}
    best = f"best {firsts.pop()}" if len(firsts) == 1 else "best"
    for name in ("study", *COUNTED_STATES, best, "front", "started (UTC)", "last change (UTC)"):
        table.add_column(name, justify="left" if name == "study" or name.endswith("(UTC)") else "right")
    for study in found:
        table.add_row(
            study.name,
            *(str(study.trials[state]) for state in COUNTED_STATES.values()),
            _best(study, named=best == "best"),
            str(study.front_size),
            *(f"{time:%Y-%m-%d %H:%M}" if time else "" for time in (study.started, study.last_change)),
        )
    console().print(table)


def _best(study: StudySummary, *, named: bool) -> str:
    """The best value of the first objective, with the objective's name where the heading does not have it."""
    value = value_text(study.objective, study.best_value)
    return f"{study.objective} {value}" if named and value else value


def trials(
    study: StudyName,
    where: Annotated[
        str | None, typer.Option(help="Only trials for which this holds: \"accuracy > 0.9 and state == 'COMPLETE'\".")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="Sort by this key; -KEY for descending.", metavar="KEY")] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=2**31 - 1, help="At most so many.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Only these keys, such as number,accuracy,layer1.position.", metavar="KEY,...")
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", help="If not given, as the file's name ends.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """List a study's trials, filtered and sorted.

    Keys are those of --json (number, state, accuracy, flops, params, epochs, ...), further objectives, and the
    parameters by their names (layer1.position). An accuracy in brackets is that of an unfinished curve. A table stops
    at 50 trials if there is no --limit; the other formats have all.
    """
    wanted = format_of(form, output, as_json)
    keys = None if columns is None else split_names(columns)
    opened = open_study(storage, study)
    if wanted != "table":
        with uncollected():
            write_trials(wanted, opened, opened.trials(where, sort=sort, limit=limit), keys, output)
        return
    found = opened.trials(where, sort=sort, limit=_SHOWN if limit is None else limit)
    out = console()
    if not found:
        out.print(f"No trials of {study}" + (" for which that holds." if where else "."))
        return
    out.print(trial_table(found) if keys is None else value_table(opened.columns(found, keys)))
    if limit is None and len(found) == _SHOWN and (more := opened.count(where) - _SHOWN) > 0:
        out.print(f"... and {more} more: see them by --limit {more + _SHOWN}, or by --format csv")


def pareto(
    study: StudyName,
    max_flops: MaxFlops = None,
    max_params: MaxParams = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show the front: complete trials that no other beats in every objective, and the baselines beside it."""
    opened = open_study(storage, study)
    front = opened.front(max_flops, max_params)
    if as_json:
        print_json([trial.to_json() for trial in front])
        return
    print_front(opened, front)


def show(
    study: StudyName,
    trial: Annotated[int | None, typer.Argument(help="Number of the trial; the best one, if not given.")] = None,
    svg: SvgFile = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show one trial: its architecture drawn site by site, curve, cost, checkpoint."""
    opened = open_study(storage, study)
    shown = opened.best() if trial is None else opened.trial(trial)
    if shown is None:
        raise InputError(
            f"study '{study}' has no complete trial yet: name a trial, such as senas {study_command('show', study)} 0"
        )
    if as_json:
        print_json(shown.to_json() | {"class_names": opened.class_names})
    else:
        _print_trial(opened, shown)
    if svg is not None:
        _write_drawing(opened, shown, svg)


def print_front(study: Study, front: list[TrialRecord]) -> None:
    """The front, and below it the baselines that are not on it."""
    out = console()
    if not front:
        out.print(f"The front of {study.name} is empty: no complete trial (within the limits).")
        return
    out.print(trial_table(front, title=f"Pareto front of {study.name}: {_axes(study)}"))
    rest = [trial for trial in study.baselines() if trial.number not in {member.number for member in front}]
    if rest:
        out.print()
        out.print(trial_table(rest, title="Baselines off the front"))


def _axes(study: Study) -> str:
    """What the front is of, such as "validation accuracy against FLOPs"."""
    names = {"accuracy": f"{study.scored_by} accuracy", "flops": "FLOPs", "params": "parameters"}
    first, *others = (names.get(objective.name, objective.name) for objective in study.objectives)
    return f"{first} against {' and '.join(others)}" if others else first


def _write_drawing(study: Study, trial: TrialRecord, file: Path) -> None:
    if trial.architecture is None:
        raise InputError(f"trial {trial.number} has no architecture to draw")
    from nas.cli.model import write_svg

    write_svg(trial.architecture, file, study.sites)


def _print_trial(study: Study, trial: TrialRecord) -> None:
    out = console()
    out.print(trial_table([trial], title=f"{study.name}, trial {trial.number}"))
    if trial.architecture is not None:
        # Only here, and after what is known without it: drawing needs the backbone traced, and so torch.
        from nas.cli.model import print_sites

        out.print()
        print_sites(trial.architecture, study.sites)
    out.print()
    facts = {
        "architecture id": trial.architecture_id,
        "started": f"{trial.started:%Y-%m-%d %H:%M:%S} UTC" if trial.started else None,
        "duration": f"{trial.duration_s:.1f} s" if trial.duration_s is not None else None,
        "curve": f"{sparkline(trial.curve)}  {' '.join(f'{value:.4f}' for value in trial.curve)}",
        "objectives": ", ".join(f"{name} {value:.6g}" for name, value in trial.objectives.items()) or None,
        "metrics": ", ".join(f"{key} {value:.4f}" for key, value in trial.metrics.items()) or None,
        "parameters": ", ".join(f"{key}={value}" for key, value in trial.parameters.items()) or None,
        "checkpoint": short_place(trial.checkpoint),
        "failed": trial.fail_reason,
        "cost": f"{count(trial.flops)} FLOPs, {count(trial.params)} parameters",
    }
    for key, value in facts.items():
        if value:
            out.print(f"{key:>16}  {value}", soft_wrap=True)
    if trial.class_accuracies:
        out.print()
        _print_classes(study, trial.class_accuracies)


def _print_classes(study: Study, accuracies: Sequence[float | None]) -> None:
    """Print the accuracy on each class; of many classes those with the lowest."""
    from rich.text import Text

    shown = list(enumerate(accuracies))
    title = f"{study.scored_by.capitalize()} accuracy by class"
    if len(shown) > FEW_CLASSES:
        shown = sorted(shown, key=lambda entry: inf if entry[1] is None else entry[1])[:FEW_CLASSES]
        title += f": the {FEW_CLASSES} lowest of {len(accuracies)}"
    table = plain_table()
    for heading in ("label", "class", "accuracy"):
        table.add_column(heading, justify="left" if heading == "class" else "right", no_wrap=True)
    names = study.class_names or ()
    for label, accuracy in shown:
        name = one_line(names[label]) if label < len(names) else ""
        table.add_row(str(label), name, accuracy_text(accuracy) or "no images")
    out = console()
    out.print(Text(title, style="bold"))  # a title within the table would be as narrow as the table
    out.print(table)
