"""Options that several commands share."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORAGE = "sqlite:///senas.db"

Storage = Annotated[
    str, typer.Option(envvar="SENAS_STORAGE", help="URL of the study DB.", metavar="URL", show_envvar=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of tables.")]
StudyName = Annotated[str, typer.Argument(help="Name of the study; `senas studies` lists them.", show_default=False)]
MaxFlops = Annotated[float | None, typer.Option(help="Only trials of at most so many FLOPs, such as 40e6.")]
MaxParams = Annotated[float | None, typer.Option(help="Only trials of at most so many parameters.")]
SvgFile = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the drawing to an SVG file too.")]
ConfigFile = Annotated[Path, typer.Argument(help="The search's configuration, a YAML file.", show_default=False)]
Download = Annotated[bool, typer.Option("--download", help="Fetch the data set if it is not there.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key of the configuration, such as search.epochs=20.", metavar="KEY=VALUE"),
]


def storage_words(storage: str) -> str:
    """What makes a command that is pasted into a shell find the study DB: " --storage URL", or nothing.

    A password is not shown.
    """
    if storage == DEFAULT_STORAGE:
        return ""
    from results.database import parse_url, shown  # SQLAlchemy takes a third of a second to load

    return f" --storage {shlex.quote(shown(parse_url(storage)))}"
