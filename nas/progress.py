"""What the user sees while a search runs: a live view in a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nas.config import Config
from nas.engine import Assignment, Listener
from nas.objectives import Entry
from nas.record import Ending
from results.best import value_text
from results.front import front
from search_space.summary import summarise

_REFRESH_EVERY_S = 0.25
_TELL_EVERY_S = 60.0
_HOW = {"COMPLETE": ("complete", "green"), "PRUNED": ("stopped", "yellow"), "FAIL": ("failed", "red")}


@dataclass
class _Trial:
    number: int
    what: str
    flops: float
    epoch: int = 0
    value: float | None = None
    from_epoch: int = 0


class Progress(Listener):
    """Told by the engine of every epoch; says a line for each trial that ends and, live, what is running.

    Where there is no terminal, a line a minute says how far the search is.
    """

    def __init__(self, config: Config, console: Console, *, time_budget: timedelta | None = None) -> None:
        self._config = config
        self._objectives = [entry.objective for entry in config.search.objectives]
        first = self._objectives[0]
        self._followed = first.name if first.source == "measured" else "accuracy"
        self._console = console
        self._budget_s = None if time_budget is None else time_budget.total_seconds()
        self._trials: dict[int, _Trial] = {}
        self._running: dict[int, _Trial] = {}
        self._counts = {how: 0 for how, _ in _HOW.values()}
        self._ended_before = 0
        self._best: float | None = None
        self._losses: list[list[float]] = []
        self._front = 0
        self._epochs = 0
        self._begun = time.monotonic()
        # Refreshed by hand: a thread that does so can draw between the parts of a line that ends a trial.
        self._live = Live(get_renderable=self._view, console=console, auto_refresh=False, transient=True)
        self._told = self._begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if any(self._counts.values()) or self._epochs:
            self._console.print(self._totals())

    def begun(self, ended: int) -> None:
        """The search begins: all that could be checked has been."""
        self._ended_before = ended
        search = self._config.search
        backbones = ", ".join(entry.name for entry in self._config.all_backbones)
        before = f", {self._ended_before} of them ended before" if self._ended_before else ""
        self._console.print(
            f"Study {self._config.study}: {backbones} on {self._config.data.name}, "
            f"{search.trials} trials of up to {search.epochs} epochs{before}"
        )
        self._begun = time.monotonic()
        if self._console.is_terminal:
            self._live.start()

    def tick(self) -> None:
        """Redraws the live view, or says a line where there is none, when it is time."""
        now = time.monotonic()
        if self._live.is_started:
            if now - self._told >= _REFRESH_EVERY_S:
                self._live.refresh()
                self._told = now
        elif now - self._told >= _TELL_EVERY_S:
            self._console.print(self._totals())
            self._told = now

    def started(self, assignment: Assignment) -> None:
        """A trial is being trained."""
        number = assignment.number
        if number not in self._trials:
            what, flops = summarise(assignment.architecture), assignment.costs["flops"]
            self._trials[number] = _Trial(number, what, flops, from_epoch=assignment.epochs)
        self._running[number] = self._trials[number]

    def progressed(self, number: int, history: Sequence[Entry]) -> None:
        """A trial has finished an epoch."""
        trial = self._running[number]
        self._epochs += max(0, len(history) - max(trial.epoch, trial.from_epoch))
        trial.epoch, trial.value = len(history), history[-1].get(self._followed)

    def paused(self, number: int) -> None:
        """A trial waits to go on."""
        self._running.pop(number, None)

    def lost(self, number: int, reason: str) -> None:
        """A trial's process was lost; the trial is to go on."""
        trial = self._running.pop(number, None)
        if trial is not None:
            self._say(trial, "lost", "yellow", f"it goes on from its last checkpoint: {reason}")

    def ended(self, number: int, ending: Ending) -> None:
        """A trial has ended."""
        self._running.pop(number, None)
        how, style = _HOW[ending.state]
        self._counts[how] += 1
        if ending.values is not None:
            self._best = self._better(ending.values[0])
            self._losses.append([o.loss(v) for o, v in zip(self._objectives, ending.values, strict=True)])
            self._front = len(front(self._losses))
        trial = self._trials.get(number)
        if trial is not None:
            self._say(trial, how, style, ending.reason or trial.what)
        elif ending.reason is not None:  # it did not come so far as to be trained
            self._console.print(f"trial {number:>4}  {how}  {ending.reason}", markup=False)

    def _better(self, value: float) -> float | None:
        """The better of a value of the first objective and the best so far; what is not finite is none."""
        known = [each for each in (self._best, value) if each is not None and isfinite(each)]
        return min(known, key=self._objectives[0].loss, default=None)

    def _say(self, trial: _Trial, how: str, style: str, what: str) -> None:
        value = value_text(self._followed, trial.value) or "-"
        line = Text.assemble(
            f"trial {trial.number:>4}  ",
            (f"{how:<8}", style),
            f"  epoch {trial.epoch:>3}/{self._config.search.epochs}  {self._followed} {value:>6}"
            f"  {trial.flops / 1e6:,.3f} MFLOPs  {what}",
        )
        self._console.print(line, overflow="ellipsis", no_wrap=True)

    def _view(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for trial in self._running.values():
            value = value_text(self._followed, trial.value)
            epoch = f"epoch {trial.epoch}/{self._config.search.epochs}"
            table.add_row(f"trial {trial.number:>4}", epoch, value, Text(trial.what, no_wrap=True, style="dim"))
        return Group(table, self._totals())

    def _totals(self) -> Text:
        seconds = time.monotonic() - self._begun
        counts = ", ".join(f"{n} {how}" for how, n in self._counts.items())
        parts = [f"{counts}, {len(self._running)} running"]
        if self._best is not None:
            name = self._objectives[0].name
            parts.append(f"best {name} {value_text(name, self._best)}, {self._front} on the front")
        parts += [f"{self._epochs / max(seconds, 1e-9):.1f} epochs/s", _clock(seconds)]
        left = self._left(seconds)
        if self._running and left is not None:
            parts.append(f"about {_clock(left)} left")
        return Text(" · ".join(parts), style="bold")

    def _left(self, seconds: float) -> float | None:
        """Seconds until the trials, at the pace so far, or the time budget come to an end."""
        ended = sum(self._counts.values())
        ends = []
        if ended:
            ends.append((self._config.search.trials - self._ended_before - ended) * seconds / ended)
        if self._budget_s is not None:
            ends.append(self._budget_s - seconds)
        return max(0.0, min(ends)) if ends else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
