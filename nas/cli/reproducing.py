"""The command reproduce: the rows of a published table trained, and printed beside what was published."""

from functools import partial
from typing import Annotated

import typer

from nas.cli.full_training import Epochs, Seeds, Trainings, full_training
from nas.cli.judging import print_reproduction
from nas.cli.options import DEFAULT_STORAGE, AsJson, Download, Overrides, Storage
from nas.cli.render import console
from nas.cli.running import Address, Checkpoints, Logged, TimeBudget
from nas.config import Config
from nas.reproduction import TABLES, published_table
from results.judgement import Judgement, judge
from search_space.errors import InputError


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
    checkpoints: Checkpoints = None,
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
    checked = full_training(
        settings, reference, recipe=recipe, epochs=epochs or chosen.epochs, download=download, overrides=overrides
    )
    if fraction < 1:
        checked = _with_part_of_the_images(checked, fraction)
    from nas.evaluation import Entry

    entries = [Entry(architecture, label) for label, architecture in architectures.items()]
    trainings = Trainings(checked, entries, range(seeds))
    outcome = trainings.carry_out(
        storage, address=address, time_budget=time_budget, checkpoints=checkpoints, log_level=log_level
    )

    def show(judgement: Judgement) -> None:
        print_reproduction(chosen, judgement)
        trained = f"{checked.search.epochs} epochs on {_share(fraction)} training images, {seeds} seeds"
        console().print(f"Ours: {trained}. The recipe is meant for {chosen.epochs} epochs on all of them.")

    against = partial(judge, against=chosen.reference.label)
    trainings.conclude(storage, outcome, against, show, as_json=as_json)


def _with_part_of_the_images(config: Config, fraction: float) -> Config:
    from trainers.data.sources import open_source

    images = len(open_source(config.data, "train").labels)
    part = config.data.model_copy(update={"limit": max(1, round(fraction * images))})
    return config.model_copy(update={"data": part})


def _share(fraction: float) -> str:
    return "all" if fraction == 1 else f"{fraction:.0%} of the"
