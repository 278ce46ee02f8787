"""The commands evaluate and reproduce: training in full over several seeds, scored once on the test set."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.judging import print_judgement, print_reproduction
from nas.cli.options import DEFAULT_STORAGE, AsJson, Download, Overrides, Storage
from nas.cli.render import console, print_json
from nas.cli.running import Address, Logged, LogLevel, TimeBudget, exit_by_signal, with_progress
from nas.config import Config, load_config, parse_config
from nas.reproduction import TABLES, published_table
from results.files import ARCHITECTURE, read_metadata
from results.judgement import Judgement, judge
from results.records import TrialRecord
from results.study import Study, open_study
from search_space.architecture import Architecture
from search_space.errors import InputError
from trainers.recipes import recipe_values, stretched

if TYPE_CHECKING:  # Ray and torch take seconds to load
    from nas.driver import Outcome
    from nas.engine import Listener
    from nas.evaluation import Entry

log = logging.getLogger(__name__)

_SEEDS = 2**32

Seeds = Annotated[int, typer.Option(min=1, help="Train each architecture so often, each time with another seed.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Epochs of training, if not the recipe's own; its steps move with them.")
]
RecipeName = Annotated[str | None, typer.Option(help="Bundled recipe or YAML file, if not the search's.")]


def evaluate(
    source: Annotated[
        Path, typer.Argument(help="What `senas export` wrote, or an architecture as YAML.", show_default=False)
    ],
    seeds: Seeds = 5,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Beside no SE, SE everywhere and the best other position.")
    ] = False,
    epochs: Epochs = None,
    recipe: RecipeName = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration of a search that says the data and the recipe.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name of the evaluation's own study.")] = None,
    download: Download = False,
    overrides: Overrides = None,
    time_budget: TimeBudget = None,
    address: Address = None,
    storage: Storage = DEFAULT_STORAGE,
    log_level: Logged = "warning",
    as_json: AsJson = False,
) -> None:
    """Train an architecture in full, over several seeds, and score it on the test set, beside the baselines.

    Trains on all that a search sees, its validation images too, and with other seeds than the search, to whose luck
    the winner may owe something. Start again to go on where it stopped; a higher --seeds adds to what is there.
    """
    winner = _read(source, config)
    settings = winner.settings | {"study": study or f"{winner.name}-evaluation"}
    checked = _full_training(settings, winner.architecture, recipe, epochs, _with(download, overrides))
    from nas.evaluation import Entry

    others = _baselines(winner, storage) if baselines else dict[str, Architecture]()
    others = {label: other for label, other in others.items() if other.id != winner.architecture.id}
    entries = [Entry(winner.architecture), *(Entry(other, label) for label, other in others.items())]
    chosen = _seeds_after(winner.settings.get("search", {}).get("seed", 0), seeds)
    outcome = _train(checked, entries, chosen, storage, address, time_budget, log_level)
    _conclude(open_study(storage, checked.study), entries, chosen, outcome, judge, print_judgement, as_json)


def reproduce(
    table: Annotated[
        str, typer.Argument(help=f"A published table: {', '.join(TABLES)}.", show_default=False, metavar="TABLE")
    ],
    seeds: Seeds = 3,
    fraction: Annotated[float, typer.Option(help="Train on this share of the training images only.")] = 1.0,
    epochs: Epochs = None,
    recipe: Annotated[str | None, typer.Option(help="Bundled recipe or YAML file, if not the table's.")] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study.")] = None,
    download: Download = False,
    overrides: Overrides = None,
    time_budget: TimeBudget = None,
    address: Address = None,
    storage: Storage = DEFAULT_STORAGE,
    log_level: Logged = "warning",
    as_json: AsJson = False,
) -> None:
    """Train the rows of a published table, and print what comes of it beside what was published.

    The data set is looked for under data/NAME; --set data.root=DIR names another folder.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"--fraction is the share of the training images that is trained on, not {fraction:g}")
    chosen = published_table(table)
    architectures = chosen.architectures()
    settings = {
        "study": study or f"reproduce-{table}",
        "data": {"name": chosen.data, "root": f"data/{chosen.data}", **chosen.view},
        "recipe": list(chosen.recipe),
    }
    reference = architectures[chosen.reference.label]
    checked = _full_training(settings, reference, recipe, epochs or chosen.epochs, _with(download, overrides))
    if fraction < 1:
        checked = _with_part_of_the_images(checked, fraction)
    from nas.evaluation import Entry

    entries = [Entry(architecture, label) for label, architecture in architectures.items()]
    outcome = _train(checked, entries, range(seeds), storage, address, time_budget, log_level)

    def show(judgement: Judgement) -> None:
        print_reproduction(chosen, judgement)
        trained = f"{checked.search.epochs} epochs on {_share(fraction)} training images, {seeds} seeds"
        console().print(f"Ours: {trained}. The recipe is meant for {chosen.epochs} epochs on all of them.")

    against = partial(judge, against=chosen.reference.label)
    _conclude(open_study(storage, checked.study), entries, range(seeds), outcome, against, show, as_json)


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
    architecture, metadata = Architecture.read(folder / ARCHITECTURE), read_metadata(folder)
    search = metadata.get("config") or {}
    return _Winner(
        architecture,
        metadata.get("study") or folder.name,
        dict(search),
        study=metadata.get("study"),
        space=search.get("space", {}),
    )


def _full_training(
    settings: Mapping[str, Any],
    architecture: Architecture,
    recipe: str | None,
    epochs: int | None,
    overrides: Sequence[str],
) -> Config:
    """A configuration for training in full: for so many epochs, or as long as in the search, or as another recipe says.

    The steps of the recipe move with its length.
    """
    backbone = architecture.backbone
    known = [settings.get("backbone") or {}, *settings.get("backbones", [])]
    weights = next((entry.get("weights") for entry in known if entry.get("name") == backbone.name), None)
    searched = settings.get("search", {}).get("epochs")
    chosen = recipe_values(settings.get("recipe", {}) if recipe is None else recipe)
    own = chosen.get("epochs")
    usual = (searched or own) if recipe is None else (own or searched)
    length = epochs or usual
    data = {key: settings[key] for key in _OF_THE_SEARCH if settings.get(key) is not None}
    data |= {
        "backbone": {"name": backbone.name, "options": dict(backbone.options), "weights": weights},
        "recipe": stretched(chosen | {"epochs": usual}, length) if length else chosen,
        "search": {"trials": 1, "epochs": length, "asha": None},
    }
    return parse_config(data, overrides, source=data["study"])


def _with(download: bool, overrides: Sequence[str] | None) -> list[str]:
    return [*(overrides or ()), *(["data.download=true"] if download else [])]


_OF_THE_SEARCH = ("study", "data", "resources", "output", "checkpoints")


def _with_part_of_the_images(config: Config, fraction: float) -> Config:
    from trainers.data.sources import open_source

    images = len(open_source(config.data, "train").labels)
    part = config.data.model_copy(update={"limit": max(1, round(fraction * images))})
    return config.model_copy(update={"data": part})


def _baselines(winner: _Winner, storage: str) -> dict[str, Architecture]:
    """No SE, the published SE, and of the other positions the one that the search found best; all, if it is unknown."""
    from search_space.tracing import trace
    from search_space.uniform_architectures import baselines

    traced = trace(winner.architecture.backbone)
    options = {key: winner.space[key] for key in ("bias", "from_identity") if key in winner.space}
    names = ("no SE", "standard everywhere")
    published = {label: found for label, found in baselines(traced).items() if label in names}
    others = {label: found for label, found in baselines(traced, **options).items() if label not in names}
    reached = _validation_accuracies(winner.study, storage)
    if others and all(other.id in reached for other in others.values()):
        best = max(others, key=lambda label: reached[others[label].id])
        others = {best: others[best]}
    return published | others


def _validation_accuracies(study: str | None, storage: str) -> dict[str, float]:
    """By architecture, as far as the search's study is in the DB."""
    try:
        records = [] if study is None else open_study(storage, study).trials()
    except InputError as error:
        log.warning("all positions take part, as it is not known which was best: %s", error)
        return {}
    return {r.architecture_id: r.accuracy for r in records if r.architecture_id is not None and r.accuracy is not None}


def _train(
    config: Config,
    entries: "Sequence[Entry]",
    seeds: range,
    storage: str,
    address: str | None,
    time_budget: str | None,
    log_level: LogLevel,
) -> "Outcome":
    trials = len(seeds) * len(entries)
    wanted = config.model_copy(update={"search": config.search.model_copy(update={"trials": trials})})

    def run(budget: timedelta | None, listener: "Listener") -> "Outcome":
        from nas.evaluation import evaluate

        return evaluate(wanted, entries, seeds, storage, address=address, time_budget=budget, listener=listener)

    return with_progress(run, wanted, time_budget=time_budget, log_level=log_level)


def _of(study: Study, entries: "Sequence[Entry]", seeds: range) -> list[TrialRecord]:
    """The trials that were asked for, by the labels that the entries have now."""
    labels = {entry.architecture.id: entry.label for entry in entries}
    return [
        replace(trial, baseline=labels[trial.architecture_id])
        for trial in study.trials()
        if trial.architecture_id in labels and trial.parameters.get("seed") in seeds
    ]


def _conclude(
    study: Study,
    entries: "Sequence[Entry]",
    seeds: range,
    outcome: "Outcome",
    judge: Callable[[Sequence[TrialRecord]], Judgement],
    show: Callable[[Judgement], None],
    as_json: bool,
) -> None:
    """Tells what came of it, as far as it has, and what is left to do."""
    trials = _of(study, entries, seeds)
    ended = {
        (trial.architecture_id, trial.parameters["seed"]) for trial in trials if trial.state in ("COMPLETE", "FAIL")
    }
    left = len(entries) * len(seeds) - len(ended)
    judgement = judge(trials) if {trial.baseline for trial in trials} == {entry.label for entry in entries} else None
    if as_json:
        stopped_by = outcome.signal and outcome.signal.name
        judged = {} if judgement is None else judgement.to_json()
        print_json({"study": study.name, "stopped_by": stopped_by, "left": left, **judged})
    elif judgement is not None:
        show(judgement)
    if left:
        out = console(stderr=True)
        out.print(
            f"{left} of {len(entries) * len(seeds)} trainings have not ended: start the same command again to go on."
        )
    exit_by_signal(outcome)
    reasons = [trial.fail_reason for trial in trials if trial.fail_reason]
    if reasons and not any(trial.state == "COMPLETE" for trial in trials):
        raise RuntimeError(f"no training was completed; the first failure was: {reasons[0]}")


def _seeds_after(seed: int, count: int) -> range:
    return range(seed + 1, seed + 1 + count) if seed + count < _SEEDS else range(count)


def _share(fraction: float) -> str:
    return "all" if fraction == 1 else f"{fraction:.0%} of the"
