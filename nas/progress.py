"""What the user sees while a search runs: a live view in a terminal, plain lines elsewhere."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ray.tune import Callback
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nas.config import Config
from search_space.architecture import Architecture
from search_space.summary import summarise

_REFRESH_EVERY_S = 0.25


@dataclass
class _Trial:
    number: int
    what: str
    flops: int
    curve: list[float]


class Progress(Callback):
    """Told by Ray Tune of every epoch; says a line for each trial that ends and, live, what is running."""

    def __init__(self, config: Config, console: Console) -> None:
        self._config = config
        self._console = console
        self._running: dict[str, _Trial] = {}
        self._ended = {"complete": 0, "stopped": 0, "failed": 0}
        self._best: float | None = None
        self._epochs = 0
        self._begun = time.monotonic()
        # Refreshed by hand: a thread that does so can draw between the parts of a line that ends a trial.
        self._live = Live(get_renderable=self._view, console=console, auto_refresh=False, transient=True)
        self._refreshed = self._begun

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles callbacks for a way of resuming that is not ours, and a terminal has no pickle."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if any(self._ended.values()):
            self._console.print(self._totals())

    def setup(self, *arguments: Any, **info: Any) -> None:
        """The search begins: all that could be checked has been."""
        backbones = ", ".join(entry.name for entry in self._config.all_backbones)
        self._console.print(
            f"Study {self._config.study}: {backbones} on {self._config.data.name}, "
            f"{self._config.search.trials} trials of up to {self._config.search.epochs} epochs"
        )
        if self._console.is_terminal:
            self._live.start()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ray has handled an event, or waited for one in vain."""
        now = time.monotonic()
        if self._live.is_started and now - self._refreshed >= _REFRESH_EVERY_S:
            self._live.refresh()
            self._refreshed = now

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has an actor."""
        architecture = Architecture.from_dict(json.loads(trial.config["architecture"]))
        self._running[trial.trial_id] = _Trial(
            trial.config["number"], summarise(architecture), trial.config["flops"], []
        )

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """A trial has finished an epoch."""
        running = self._running[trial.trial_id]
        self._epochs += len(result["curve"]) - len(running.curve)
        running.curve = list(result["curve"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended, by itself or by ASHA."""
        ended = self._running.pop(trial.trial_id)
        reason = trial.last_result.get("fail_reason")
        if reason:
            self._tell("failed", ended, reason)
        elif len(ended.curve) < self._config.search.epochs:
            self._tell("stopped", ended, ended.what)
        else:
            self._best = max(ended.curve[-1], self._best or 0.0)
            self._tell("complete", ended, ended.what)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process was lost for good."""
        ended = self._running.pop(trial.trial_id, None)
        if ended is not None:
            self._tell("failed", ended, "the worker process ended unexpectedly")

    def _tell(self, how: str, trial: _Trial, what: str) -> None:
        self._ended[how] += 1
        style = {"complete": "green", "stopped": "yellow", "failed": "red"}[how]
        accuracy = f"{trial.curve[-1]:.4f}" if trial.curve else "-"
        line = Text.assemble(
            f"trial {trial.number:>4}  ",
            (f"{how:<8}", style),
            f"  epoch {len(trial.curve):>3}/{self._config.search.epochs}  accuracy {accuracy:>6}"
            f"  {trial.flops / 1e6:,.3f} MFLOPs  {what}",
        )
        self._console.print(line, overflow="ellipsis", no_wrap=True)

    def _view(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for trial in self._running.values():
            accuracy = f"{trial.curve[-1]:.4f}" if trial.curve else ""
            epoch = f"epoch {len(trial.curve)}/{self._config.search.epochs}"
            table.add_row(f"trial {trial.number:>4}", epoch, accuracy, Text(trial.what, no_wrap=True, style="dim"))
        return Group(table, self._totals())

    def _totals(self) -> Text:
        seconds = time.monotonic() - self._begun
        counts = ", ".join(f"{n} {how}" for how, n in self._ended.items())
        best = "" if self._best is None else f" · best accuracy {self._best:.4f}"
        return Text(
            f"{counts}, {len(self._running)} running{best} · {self._epochs / seconds:.1f} epochs/s · {seconds:.0f} s",
            style="bold",
        )
