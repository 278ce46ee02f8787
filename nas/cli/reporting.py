"""The commands report and plot: a study as a page, and as pictures."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import DEFAULT_STORAGE, Storage, StudyName

_KINDS = "front, curves, hypervolume, importance, effects, rungs"


def report(
    study: StudyName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; STUDY-report.html if not given.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write a study as one self-contained web page: the best architecture first, then what it rests on."""
    file = output or Path(re.sub(r"[^\w.-]+", "-", study) + "-report.html")
    size = write_report(study, storage, file)
    print(f"Wrote {file} ({size / 1e6:.1f} MB)")


def write_report(study: str, storage: str, file: Path) -> int:
    """Writes the report of a study as it is now, and gives its size in bytes.

    Raises:
        InputError: there is no such study, or the file cannot be written.
    """
    from results.analysis import analyze
    from results.database import parse_url, shown
    from results.files import write_text
    from results.report import Report, evaluations_of, render
    from results.study import open_study

    made = datetime.now(UTC)
    opened = open_study(storage, study)
    best = opened.best()
    at = "" if storage == DEFAULT_STORAGE else f" --storage {shlex.quote(shown(parse_url(storage)))}"
    evaluations = evaluations_of(storage, best.architecture_id if best else None)
    page = render(Report(opened, analyze(opened), evaluations, at, made))
    write_text(file, page)
    return len(page.encode())


def plot(
    study: StudyName,
    kind: Annotated[str, typer.Argument(help=f"What to draw: {_KINDS}.", show_default=False, metavar="KIND")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png or .svg file to write.", show_default=False)],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Draw one chart of a study into a PNG or SVG file."""
    from results.charts.kinds import chart
    from results.charts.saving import save
    from results.study import open_study

    save(chart(open_study(storage, study), kind), output)
    print(f"Wrote {output}")
