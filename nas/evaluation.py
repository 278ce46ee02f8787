"""The final judgement: architectures trained in full, each over several seeds, and scored once, on the test set.

An evaluation is a study of its own, run as a search is: by Ray, in parallel, to be gone on with after any stop. Its
trials are pairs of an architecture and a seed. Those of one seed share the backbone's initialisation, the order of
the data and its augmentation, so that differences between architectures are paired by seed.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from nas.config import Config
from nas.driver import Outcome, Work, carry_out
from nas.engine import Engine, Given, Listener, Settings
from nas.objectives import KNOWN
from nas.proposer import Proposes
from nas.record import StudyRecord
from search_space.architecture import Architecture
from search_space.costs import Cost, cost
from search_space.errors import InputError
from search_space.tracing import trace
from trainers.data.config import describe
from trainers.data.splits import final_splits
from trainers.run import check_recipe

OBJECTIVES = ("accuracy", "flops")


@dataclass(frozen=True)
class Entry:
    """An architecture that takes part; the label is a baseline's name, or None for what baselines are there for."""

    architecture: Architecture
    label: str | None = None


def evaluate(
    config: Config,
    entries: Sequence[Entry],
    seeds: Sequence[int],
    storage: str,
    *,
    address: str | None = None,
    time_budget: timedelta | None = None,
    checkpoints: str | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Trains every entry with every seed on all that a search sees, as far as the study does not hold it yet.

    Takes what :func:`nas.driver.carry_out` takes, and raises what it raises.

    Args:
        config: data, recipe, epochs and resources; what it says of a search is not looked at.

    Raises:
        InputError: an architecture does not fit the data.
    """
    prepare = partial(_prepare, config, tuple(entries), tuple(seeds))
    return carry_out(
        prepare,
        config,
        storage,
        address=address,
        time_budget=time_budget,
        checkpoints=checkpoints,
        listener=listener,
    )


def _prepare(config: Config, entries: Sequence[Entry], seeds: Sequence[int]) -> Work:
    _check_that_they_fit(entries, config)
    data = final_splits(config.data)
    check_recipe(config.recipe, config.search.epochs, data)
    weights = {
        entry.architecture.backbone: found
        for entry in entries
        for chosen in config.all_backbones
        if chosen.name == entry.architecture.backbone.name and (found := chosen.to_load) is not None
    }
    given = [Given(entry.architecture, entry.label, seed) for seed in seeds for entry in entries]
    return Work(
        config,
        tuple(KNOWN[name] for name in OBJECTIVES),
        weights,
        data,
        held_out="test",
        scores_every_epoch=False,
        make_engine=partial(_make_engine, config, given),
    )


def _check_that_they_fit(entries: Iterable[Entry], config: Config) -> None:
    num_classes, size = describe(config.data)
    for backbone in {entry.architecture.backbone for entry in entries}:
        if (backbone.num_classes, backbone.input_size) != (num_classes, size):
            raise InputError(
                f"{backbone.name} is for {backbone.num_classes} classes and images of {_by(backbone.input_size)}, and "
                f"{config.data.name} has {num_classes} classes and images of {_by(size)}: choose other data"
            )


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _make_engine(
    config: Config,
    given: Sequence[Given],
    record: StudyRecord,
    slots: Callable[[], int],
    listener: Listener,
) -> Engine:
    return Engine(
        record,
        Proposes(),
        None,
        Settings(trials=sys.maxsize, epochs=config.search.epochs, retries=config.resources.retries),
        objectives=[KNOWN[name] for name in OBJECTIVES],
        price=_price,
        price_objectives=lambda architecture: {"flops": float(_price(architecture).flops)},
        given=given,
        slots=slots,
        listener=listener,
    )


def _price(architecture: Architecture) -> Cost:
    return cost(trace(architecture.backbone), architecture)
