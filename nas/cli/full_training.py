"""What evaluate and reproduce have in common: training in full with several seeds, and telling what came of it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.render import console, print_json
from nas.cli.running import LogLevel, exit_by_signal, with_checkpoints, with_progress
from nas.config import Config, parse_config
from results.checkpoint_places import relocated
from results.judgement import Judgement
from results.records import TrialRecord
from results.study import open_study
from search_space.architecture import Architecture
from search_space.weights import Weights
from trainers.recipes import recipe_values, stretched

if TYPE_CHECKING:  # Ray and torch take seconds to load
    from nas.driver import Outcome
    from nas.engine import Listener
    from nas.evaluation import Entry

Seeds = Annotated[int, typer.Option(min=1, help="Train each architecture so often, each time with another seed.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs of training; the recipe's steps move with them.")]

log = logging.getLogger(__name__)

_SEEDS = 2**32
_OF_THE_SEARCH = ("study", "data", "resources", "output", "checkpoints")


def full_training(
    settings: Mapping[str, Any],
    architecture: Architecture,
    *,
    recipe: str | None,
    epochs: int | None,
    download: bool,
    overrides: Sequence[str] | None,
) -> Config:
    """A configuration for training in full: for so many epochs, or as long as in the search, or as another recipe says.

    The steps of the recipe move with its length.

    Args:
        settings: keys of a search's configuration, as far as they are known.
        architecture: one of those that are to be trained.
        recipe: another than the search's.

    Raises:
        InputError: something is wrong; the message names the key and what would be right.
    """
    backbone = architecture.backbone
    known = [settings.get("backbone") or {}, *settings.get("backbones", [])]
    searched_with: Mapping[str, Any] = next((entry for entry in known if entry.get("name") == backbone.name), {})
    begun_with = {key: searched_with[key] for key in ("weights", "weights_channels") if searched_with.get(key)}
    if "weights" in begun_with:
        begun_with["weights"] = _where_it_is_now(begun_with["weights"])
    searched = settings.get("search", {}).get("epochs")
    chosen = recipe_values(settings.get("recipe", {}) if recipe is None else recipe)
    own = chosen.get("epochs")
    usual = (searched or own) if recipe is None else (own or searched)
    length = epochs or usual
    data = {key: settings[key] for key in _OF_THE_SEARCH if settings.get(key) is not None}
    data |= {
        "backbone": {"name": backbone.name, "options": dict(backbone.options), **begun_with},
        "recipe": stretched(chosen | {"epochs": usual}, length) if length else chosen,
        "search": {"trials": 1, "epochs": length, "asha": None},
    }
    fetched = ["data.download=true"] if download else []
    return parse_config(data, [*(overrides or ()), *fetched], source=data["study"])


def _where_it_is_now(weights: str) -> str:
    """Return the weights that a search recorded, as a file of the working directory if theirs is gone."""
    file = Weights(weights).file
    if file is None or file.exists():
        return weights
    found = relocated(file, Path.cwd())
    if found is None:
        return weights
    log.warning("the weights file %s is gone: %s is taken for it", file, found)
    return str(found)


def seeds_after(seed: int, count: int) -> range:
    """Other seeds than a search's, whose luck the winner had; the same ones for every architecture."""
    return range(seed + 1, seed + 1 + count) if seed + count < _SEEDS else range(count)


@dataclass(frozen=True)
class Trainings:
    """Every entry with every seed."""

    config: Config
    entries: "Sequence[Entry]"
    seeds: range

    def carry_out(
        self,
        storage: str,
        *,
        address: str | None,
        time_budget: str | None,
        checkpoints: str | None,
        log_level: LogLevel,
    ) -> "Outcome":
        """Trains what is not trained yet, telling of it on stderr."""
        search = self.config.search.model_copy(update={"trials": self._count})
        config = with_checkpoints(self.config.model_copy(update={"search": search}), checkpoints)

        def run(budget: timedelta | None, listener: "Listener") -> "Outcome":
            from nas.evaluation import evaluate

            return evaluate(
                config,
                self.entries,
                self.seeds,
                storage,
                address=address,
                time_budget=budget,
                checkpoints=checkpoints,
                listener=listener,
            )

        return with_progress(run, config, time_budget=time_budget, log_level=log_level)

    def conclude(
        self,
        storage: str,
        outcome: "Outcome",
        judge: Callable[[Sequence[TrialRecord]], Judgement],
        show: Callable[[Judgement], None],
        *,
        as_json: bool,
    ) -> None:
        """Tells what came of it, as far as it has, and what is left to do, and ends the command if it was cut short.

        Raises:
            RuntimeError: all that was trained failed.
        """
        trials = self._recorded(storage)
        ended = {_key(trial) for trial in trials if trial.state in ("COMPLETE", "FAIL")}
        left = self._count - len(ended)
        all_begun = {trial.baseline for trial in trials} == {entry.label for entry in self.entries}
        judgement = judge(trials) if all_begun else None
        if as_json:
            stopped_by = outcome.signal and outcome.signal.name
            judged = {} if judgement is None else judgement.to_json()
            print_json({"study": self.config.study, "stopped_by": stopped_by, "left": left, **judged})
        elif judgement is not None:
            show(judgement)
        if left:
            more = "trainings have not ended: start the same command again to go on."
            console(stderr=True).print(f"{left} of {self._count} {more}")
        exit_by_signal(outcome)
        reasons = [trial.fail_reason for trial in trials if trial.fail_reason]
        if reasons and not any(trial.state == "COMPLETE" for trial in trials):
            raise RuntimeError(f"no training was completed; the first failure was: {reasons[0]}")

    @property
    def _count(self) -> int:
        return len(self.seeds) * len(self.entries)

    def _recorded(self, storage: str) -> list[TrialRecord]:
        """The trials of these, by the labels that the entries have now."""
        labels = {entry.architecture.id: entry.label for entry in self.entries}
        return [
            replace(trial, baseline=labels[trial.architecture_id])
            for trial in open_study(storage, self.config.study).trials()
            if trial.architecture_id in labels and trial.parameters.get("seed") in self.seeds
        ]


def _key(trial: TrialRecord) -> tuple[str | None, int]:
    return trial.architecture_id, trial.parameters["seed"]
