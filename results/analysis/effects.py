"""In which direction choices act: a linear model of the accuracy, over the trials that somebody proposed.

    accuracy = constant + backbone + sum over stages of b_s x_s + sum over levels of g_l z_l + noise

x_s is the number of blocks at stage s, as a share of the most that any trial has there. For position, variant, ratio
and the operators, z_l is the mean over the network's blocks of 1 where a block has the level l and 0 where it has not,
less the share of that level among the blocks of all trials; blocks without the factor, and networks without blocks,
have 0. The reference level has no z. So b_s is the effect of blocks at the stage, of such levels as the trials have on
average, and g_l that of giving all blocks the level instead of the reference, wherever they stand.

The model knows no interactions, and trials are not a designed experiment: docs/understanding.md says what follows.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from results.analysis.comparable import Outcome
from results.analysis.findings import Effect
from results.analysis.least_squares import fit
from results.analysis.networks import FACTORS, Network, networks
from search_space.site import Sites

_FEWEST_OF_A_LEVEL = 3
_FEWEST_TO_SPARE = 8
# The published block is what others are compared with, if enough trials have it.
_PUBLISHED = {"position": "standard", "variant": "standard", "ratio": "16", "squeeze": "avg", "excitation": "sigmoid"}


@dataclass(frozen=True)
class _Column:
    """One term of the model: its value in each network, and the effect that its coefficient is."""

    factor: str
    level: str
    reference: str
    values: tuple[float, ...]
    trials: int
    reference_trials: int

    @property
    def is_backed(self) -> bool:
        """Whether enough trials have the level and the reference for it to be told."""
        return min(self.trials, self.reference_trials) >= _FEWEST_OF_A_LEVEL


def effects(outcomes: Sequence[Outcome], notes: list[str], sites: Sites | None = None) -> tuple[Effect, ...]:
    """The effects on accuracy of SE at each stage, and of each position, variant, ratio, operator and backbone.

    Baselines that the space does not offer take no part. A level that fewer than three trials have is in the model
    and not in the result.

    Args:
        outcomes: the accuracies that are compared.
        notes: takes sentences on what cannot be said, and why.
        sites: the sites that the search is over.
    """
    compared = networks(outcomes, notes, sites)
    terms = [*_backbones(compared), *_stages(compared), *(c for factor in FACTORS for c in _levels(factor, compared))]
    columns = [column for column in terms if len(set(column.values)) > 1]
    needed = 1 + len(columns) + _FEWEST_TO_SPARE
    if not columns:
        notes.append(
            "There are no effects: no two trials that can be compared differ in an architecture that was proposed by "
            "parameters."
        )
        return ()
    if len(compared) < needed:
        notes.append(
            f"There are no effects: {len(compared)} trials are too few to tell {len(columns)} effects apart, which "
            f"takes {needed}."
        )
        return ()
    estimates = fit(
        np.array([column.values for column in columns]).T, np.array([network.accuracy for network in compared])
    )
    backed = [(column, estimate) for column, estimate in zip(columns, estimates, strict=True) if column.is_backed]
    _tell_what_is_left_out(
        [column for column in columns if not column.is_backed],
        [column for column, estimate in backed if estimate is None],
        notes,
    )
    return tuple(
        Effect(
            column.factor,
            column.level,
            column.reference,
            column.trials,
            column.reference_trials,
            estimate.value,
            estimate.low,
            estimate.high,
        )
        for column, estimate in backed
        if estimate is not None
    )


def _backbones(compared: Sequence[Network]) -> Iterator[_Column]:
    count = Counter(network.backbone for network in compared)
    reference = max(count, key=count.__getitem__, default="")
    for name in count:
        if name != reference:
            values = tuple(float(network.backbone == name) for network in compared)
            yield _Column("backbone", name, reference, values, count[name], count[reference])


def _stages(compared: Sequence[Network]) -> Iterator[_Column]:
    counts = [Counter(block.stage for block in network.blocks) for network in compared]
    for stage in sorted({stage for count in counts for stage in count}):
        most = max(count[stage] for count in counts)
        having = sum(count[stage] > 0 for count in counts)
        values = tuple(count[stage] / most for count in counts)
        yield _Column(f"SE at {stage}", "SE", "no SE", values, having, len(compared) - having)


def _levels(factor: str, compared: Sequence[Network]) -> Iterator[_Column]:
    counts = [Counter(b.levels[factor] for b in network.blocks if factor in b.levels) for network in compared]
    overall = sum(counts, Counter[str]())
    having = {level: sum(count[level] > 0 for count in counts) for level in overall}
    if not having:
        return
    published = _PUBLISHED[factor]
    usable = having.get(published, 0) >= _FEWEST_OF_A_LEVEL
    reference = published if usable else max(having, key=having.__getitem__)
    for level in sorted(having, key=_in_numerical_order):
        if level != reference:
            share = overall[level] / overall.total()
            values = tuple(
                (count[level] - share * count.total()) / max(1, len(network.blocks))
                for count, network in zip(counts, compared, strict=True)
            )
            yield _Column(factor, level, reference, values, having[level], having[reference])


def _in_numerical_order(level: str) -> tuple[int, str]:
    return (int(level) if level.isdecimal() else 0, level)


def _tell_what_is_left_out(rare: Sequence[_Column], entangled: Sequence[_Column], notes: list[str]) -> None:
    if rare:
        notes.append(
            f"Not told, as fewer than {_FEWEST_OF_A_LEVEL} trials have the level or its reference: {_listed(rare)}."
        )
    if entangled:
        notes.append(f"Not told, as they always go together in these trials: {_listed(entangled)}.")


def _listed(columns: Sequence[_Column]) -> str:
    return ", ".join(
        column.factor if column.factor.startswith("SE at ") else f"{column.factor} {column.level}" for column in columns
    )
