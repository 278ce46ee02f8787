"""The commands report and plot: a study as a page, and as pictures."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import DEFAULT_STORAGE, Storage, StudyName, storage_words
from search_space.errors import InputError

# The names in results.charts.kinds, which takes too long to load for a text of help.
KINDS_OF_CHART = ("front", "curves", "hypervolume", "importance", "effects", "rungs")


def report(
    study: StudyName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .html file to write; STUDY-report.html if not given.")
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
        InputError: there is no such study, or the file cannot be written or is not named as a page.
    """
    if file.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{file} is not named as the web page that a report is: end its name in .html")
    from results.files import write_text
    from results.report import Report, evaluations_of, recommend, render
    from results.study import open_study

    made = datetime.now(UTC)
    opened = open_study(storage, study)
    found = recommend(opened)
    evaluations = evaluations_of(storage, found.best.architecture_id if found else None)
    page = render(Report(opened, evaluations, storage_words(storage), made))
    write_text(file, page)
    return len(page.encode())


def plot(
    study: StudyName,
    kind: Annotated[
        str, typer.Argument(help=f"What to draw: {', '.join(KINDS_OF_CHART)}.", show_default=False, metavar="KIND")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png or .svg file to write.", show_default=False)],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Draw one chart of a study into a PNG or SVG file."""
    from results.charts.kinds import chart
    from results.charts.saving import save
    from results.study import open_study

    save(chart(open_study(storage, study), kind), output)
    print(f"Wrote {output}")
