"""The command export."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import DEFAULT_STORAGE, AsJson, MaxFlops, Storage, StudyName
from nas.cli.render import console, print_json
from search_space.errors import InputError


def export(
    study: StudyName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.", show_default=False)],
    trial: Annotated[int | None, typer.Option(help="This trial, not the best.")] = None,
    max_flops: MaxFlops = None,
    allow_pruned: Annotated[
        bool, typer.Option("--allow-pruned", help="Accept a trial that was stopped early.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export there.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write the best architecture, or that trial's, with its weights as files that anyone can load."""
    from results import export as write
    from results import open_study

    opened = open_study(storage, study)
    if trial is not None and max_flops is not None:
        raise InputError("--trial names one trial and --max-flops chooses among all: give one of the two")
    if trial is None and opened.scored_by == "test":
        raise InputError(f"'{study}' is a final evaluation, and the test set is not to choose: name a trial by --trial")
    chosen = opened.trial(trial) if trial is not None else opened.best(max_flops)
    if chosen is None:
        limit = "" if max_flops is None else f" of at most {max_flops:,.0f} FLOPs"
        raise InputError(f"study '{study}' has no complete trial{limit} to export")
    directory = write(opened, chosen, output, force=force, allow_pruned=allow_pruned)
    if as_json:
        print_json({"directory": str(directory), "files": sorted(file.name for file in directory.iterdir())})
    else:
        accuracy = "" if chosen.accuracy is None else f" ({opened.scored_by} accuracy {chosen.accuracy:.4f})"
        console().print(f"Exported trial {chosen.number}{accuracy} to {output}", soft_wrap=True)
