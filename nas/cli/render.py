"""How results look: tables for people, one JSON document for programs."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.records import FIGURES, State, TrialRecord
from results.remote import is_remote

if TYPE_CHECKING:  # rich is for what is drawn, which JSON is not
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from search_space.drawing import Row
    from search_space.site import Site

_STATE_STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "RUNNING": "cyan", "WAITING": "dim"}
COUNTED_STATES: Mapping[str, State] = {
    "complete": "COMPLETE",
    "pruned": "PRUNED",
    "failed": "FAIL",
    "running": "RUNNING",
}
"""The states of which tables of studies have a column, by its title."""
_SPARKS = "▁▂▃▄▅▆▇█"


def print_json(document: Any) -> None:
    """One JSON document, and nothing else, on stdout."""
    sys.stdout.writelines(json_lines(document))


def json_lines(document: Any) -> Iterator[str]:
    """A JSON document as text: a mapping is indented; of a list, which may be a generator, each member has a line."""
    if isinstance(document, Mapping):
        yield json.dumps(document, indent=2, allow_nan=False) + "\n"
        return
    encode = json.JSONEncoder(allow_nan=False).encode
    before = "["
    for member in document:
        yield f"{before}\n  {encode(member)}"
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def console(*, stderr: bool = False) -> "Console":
    """A console as wide as the terminal, or wide enough for a whole table where there is none.

    Brackets and colons in what is printed are just that: names of studies and reasons of failures have them.
    """
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=160)


def short_path(path: Path) -> Path:
    """A path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def short_place(place: str | None) -> str | None:
    """Where checkpoints lie, as one would type it here: a path, or a URL as it is."""
    return place if place is None or is_remote(place) else str(short_path(Path(place)))


def plain_table(*, title: str | None = None) -> "Table":
    """A table without lines, the way all of ours look."""
    from rich.table import Table

    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))


def stage_label(site: "Site", previous: "Site | None") -> str:
    """A stage's number and name at its first site, nothing at the others."""
    return "" if previous is not None and site.stage == previous.stage else f"{site.stage} {site.stage_name}"


def trial_table(trials: Iterable[TrialRecord], *, title: str | None = None) -> "Table":
    """Trials as rows: a star marks the front; an accuracy in brackets is that of a curve's last epoch."""
    from rich.text import Text

    table = plain_table(title=title)
    trials = list(trials)
    others = dict.fromkeys(name for trial in trials for name in trial.objectives if name not in FIGURES)
    for name in ("", "trial", "state", "accuracy", "FLOPs", "params", *others, "epochs"):
        table.add_column(name, justify="left" if name in ("", "state") else "right", no_wrap=True)
    table.add_column("curve", no_wrap=True)
    table.add_column("architecture", overflow="fold")
    for trial in trials:
        table.add_row(
            "*" if trial.is_pareto else "",
            str(trial.number),
            Text(trial.state, style=_STATE_STYLES[trial.state]),
            _accuracy(trial),
            count(trial.flops),
            count(trial.params),
            *(f"{trial.objectives[name]:.4g}" if name in trial.objectives else "" for name in others),
            "" if trial.epochs is None else str(trial.epochs),
            sparkline(trial.curve),
            _what(trial),
        )
    return table


def value_table(columns: Mapping[str, Sequence[Any]]) -> "Table":
    """Values by column, as they are; lists and texts to the left, the rest to the right."""
    table = plain_table()
    for name, values in columns.items():
        texts = any(isinstance(value, str | list) for value in values)
        table.add_column(name, justify="left" if texts else "right", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*("" if value is None else str(value) for value in row))
    return table


def site_table(rows: Iterable["Row"]) -> "Table":
    """An architecture drawn site by site: what each block is, and its part of all the network's cost."""
    from rich.text import Text

    table = plain_table()
    for name in ("stage", "site", "position", "variant"):
        table.add_column(name, no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    for name in ("widths", "settings"):
        table.add_column(name, no_wrap=True)
    for name in ("FLOPs", "share", "params", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    previous = None
    for row in rows:
        label, block = stage_label(row.site, previous), row.block
        previous = row.site
        if block is None:
            table.add_row(label, row.site.name, Text("·", style="dim"))
            continue
        table.add_row(
            label,
            row.site.name,
            block.se.position,
            block.se.variant,
            "" if block.ratio is None else f"{block.ratio:.3g}",
            block.widths,
            block.details,
            f"{block.flops:,}",
            f"{block.flops_share:.3%}",
            f"{block.params:,}",
            f"{block.params_share:.2%}",
        )
    return table


def sparkline(curve: Sequence[float]) -> str:
    """A curve of values in [0, 1] as one character each; what is not a number is a space."""
    top = len(_SPARKS) - 1
    return "".join(" " if isnan(value) else _SPARKS[round(min(1.0, max(0.0, value)) * top)] for value in curve)


def count(number: float | None) -> str:
    """A large count to five digits, as SE changes the third or fourth: 41.021M."""
    if number is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:#.5g}{unit}"
    return f"{number:g}"


def accuracy_text(accuracy: float | None) -> str:
    """An accuracy to a hundredth of a percent; nothing where there is none."""
    return "" if accuracy is None else f"{accuracy:.4f}"


def _accuracy(trial: TrialRecord) -> "Text":
    from rich.text import Text

    if trial.accuracy is not None:
        return Text(accuracy_text(trial.accuracy))
    return Text(f"({trial.curve[-1]:.4f})" if trial.curve else "", style="dim")


def _what(trial: TrialRecord) -> "Text":
    from rich.text import Text

    from search_space.summary import summarise

    architecture = "" if trial.architecture is None else summarise(trial.architecture)
    if trial.fail_reason:
        return Text(f"{trial.fail_reason}  [{architecture}]", style="red")
    if trial.baseline:
        return Text(f"{trial.baseline} (baseline)", style="bold")
    return Text(architecture)
