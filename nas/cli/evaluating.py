"""The command evaluate: a network and its baselines trained in full, over several seeds, and judged by the test set."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.full_training import Epochs, Seeds, Trainings, full_training, seeds_after
from nas.cli.judging import print_judgement
from nas.cli.options import DEFAULT_STORAGE, AsJson, Download, Overrides, Storage
from nas.cli.running import Address, Checkpoints, Logged, TimeBudget
from nas.config import load_config
from nas.objectives import KNOWN
from results.best import best_of
from results.files import read_architecture, read_metadata
from results.judgement import judge
from results.study import open_study
from results.study_names import evaluation_of
from search_space.architecture import Architecture
from search_space.errors import InputError

log = logging.getLogger(__name__)


def evaluate(
    source: Annotated[
        Path, typer.Argument(help="What `senas export` wrote, or an architecture as YAML.", show_default=False)
    ],
    seeds: Seeds = 5,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Beside no SE, SE everywhere and the best other position.")
    ] = False,
    epochs: Epochs = None,
    recipe: Annotated[str | None, typer.Option(help="Bundled recipe or YAML file, if not the search's.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration of a search that says the data and the recipe.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name of the evaluation's own study.")] = None,
    download: Download = False,
    overrides: Overrides = None,
    time_budget: TimeBudget = None,
    address: Address = None,
    checkpoints: Checkpoints = None,
    storage: Storage = DEFAULT_STORAGE,
    log_level: Logged = "warning",
    as_json: AsJson = False,
) -> None:
    """Train an architecture in full, over several seeds, and score it on the test set, beside the baselines.

    Trains on all that a search sees, its validation images too, and with other seeds than the search, to whose luck
    the winner may owe something. Start again to go on where it stopped; a higher --seeds adds to what is there.
    """
    winner = _read(source, config)
    settings = winner.settings | {"study": study or evaluation_of(winner.name)}
    checked = full_training(
        settings, winner.architecture, recipe=recipe, epochs=epochs, download=download, overrides=overrides
    )
    from nas.evaluation import Entry

    others = _baselines(winner, storage) if baselines else dict[str, Architecture]()
    others = {label: other for label, other in others.items() if other.id != winner.architecture.id}
    entries = [Entry(winner.architecture), *(Entry(other, label) for label, other in others.items())]
    searched_with = winner.settings.get("search", {}).get("seed", 0)
    trainings = Trainings(checked, entries, seeds_after(searched_with, seeds))
    outcome = trainings.carry_out(
        storage, address=address, time_budget=time_budget, checkpoints=checkpoints, log_level=log_level
    )
    show = partial(print_judgement, metrics=_metrics_of(winner.settings))
    trainings.conclude(storage, outcome, judge, show, as_json=as_json)


def _metrics_of(settings: Mapping[str, Any]) -> list[str]:
    """The search's objectives that every evaluation measures besides the accuracy."""
    entries = settings.get("search", {}).get("objectives") or []
    known = [
        entry for entry in entries if isinstance(entry, Mapping) and not (entry.get("measure") or entry.get("price"))
    ]
    names = [entry["name"] for entry in known if entry.get("name") in KNOWN]
    return [name for name in names if KNOWN[name].source == "measured" and name != "accuracy"]


@dataclass(frozen=True)
class _Winner:
    """What is to be evaluated, and what is known of the search that it comes from."""

    architecture: Architecture
    name: str
    settings: dict[str, Any]
    study: str | None = None
    space: Mapping[str, Any] = field(default_factory=dict)


def _read(source: Path, config: Path | None) -> _Winner:
    if not source.exists():
        raise InputError(f"there is no {source}: name what `senas export` wrote, or an architecture's YAML")
    winner = _read_export(source) if source.is_dir() else _Winner(Architecture.read(source), source.stem, {})
    if config is not None:
        said = load_config(config).to_dict()
        winner = replace(winner, settings=said, study=said["study"], space=said["space"])
    if "data" not in winner.settings:
        raise InputError(f"{source} does not say which data it is for: give the search's configuration with --config")
    return winner


def _read_export(folder: Path) -> _Winner:
    architecture, metadata = read_architecture(folder), read_metadata(folder)
    search = metadata.get("config") or {}
    return _Winner(
        architecture,
        metadata.get("study") or folder.name,
        dict(search),
        study=metadata.get("study"),
        space=search.get("space", {}),
    )


def _baselines(winner: _Winner, storage: str) -> dict[str, Architecture]:
    """No SE, the published SE, and of the other positions the one that the search found best; all, if it is unknown."""
    from search_space.site import recorded_sites
    from search_space.tracing import trace
    from search_space.uniform_architectures import baselines

    traced = trace(winner.architecture.backbone, recorded_sites(winner.space) if winner.space else "auto")
    options = {key: winner.space[key] for key in ("bias", "from_identity") if key in winner.space}
    names = ("no SE", "standard everywhere")
    published = {label: found for label, found in baselines(traced).items() if label in names}
    others = {label: found for label, found in baselines(traced, **options).items() if label not in names}
    best = _best_of(others, winner.study, storage)
    return published | (others if best is None else {best: others[best]})


def _best_of(others: Mapping[str, Architecture], study: str | None, storage: str) -> str | None:
    """The label of the architecture that was the best in the search; None if not all were trained to the end there."""
    if study is None:
        return None
    try:
        searched = open_study(storage, study)
        records = searched.records
    except InputError as error:
        log.warning("all positions take part, as it is not known which was best: %s", error)
        return None
    labels = {other.id: label for label, other in others.items()}
    trained = [trial for trial in records if trial.state == "COMPLETE" and trial.architecture_id in labels]
    if {trial.architecture_id for trial in trained} != set(labels):
        return None
    best = best_of(trained, searched.objectives)
    return None if best is None or best.architecture_id is None else labels[best.architecture_id]
