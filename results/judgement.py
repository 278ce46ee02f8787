"""What the trials of a final evaluation say: is the winner better than the baselines, beyond the noise of seeds?

Each trial is one architecture trained with one seed. Trials of one seed share their initial backbone weights, data
order and augmentation, so two architectures are compared by their differences at the seeds that both have: the mean
difference, its 95% confidence interval and the p value of the two-sided paired t-test (Student, 1908). The p values of
all comparisons are adjusted together by the method of Holm (1979), so that many baselines do not make a chance find.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any, Literal

from results.records import TrialRecord
from search_space.errors import InputError, unknown

Verdict = Literal["better", "worse", "not shown", "not tested"]
Obstacle = Literal["no seed in common", "one seed in common", "equal differences"]

WINNER = "winner"
"""The label of the trials that are no baseline's."""

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
POWER = 0.8

_FEWEST_FOR_A_SPREAD = 3
_MOST_SEEDS = 1000
_FAR = 5.0
# Accuracies are counts over a test set: whatever differs by less than this differs by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Entry:
    """One architecture and what its trials reached.

    Attributes:
        accuracies: test top-1, 0 to 1, by seed; only of the trials that are complete.
        failures: seeds whose trial broke, or ended without a number.
        unfinished: seeds whose trial has not ended.
        metrics: further figures of the same trials, such as "balanced_accuracy", by name and by seed.
    """

    label: str
    architecture_id: str | None
    flops: float | None
    params: float | None
    accuracies: Mapping[int, float] = field(hash=False)
    failures: int = 0
    unfinished: int = 0
    metrics: Mapping[str, Mapping[int, float]] = field(default_factory=dict, hash=False)

    @property
    def mean(self) -> float | None:
        """The mean accuracy over the seeds; None without one."""
        return fmean(self.accuracies.values()) if self.accuracies else None

    @property
    def sd(self) -> float | None:
        """The sample standard deviation over the seeds; None with fewer than two."""
        return stdev(self.accuracies.values()) if len(self.accuracies) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "label": self.label,
            "architecture_id": self.architecture_id,
            "flops": self.flops,
            "params": self.params,
            "accuracies": {str(seed): accuracy for seed, accuracy in self.accuracies.items()},
            "mean": self.mean,
            "sd": self.sd,
            "failures": self.failures,
            "unfinished": self.unfinished,
            "metrics": {
                name: {str(seed): value for seed, value in by_seed.items()} for name, by_seed in self.metrics.items()
            },
        }


@dataclass(frozen=True)
class Comparison:
    """One entry against another, over the seeds that both have. Differences are of accuracies: 0.01 is a point.

    Attributes:
        seeds: those that both have.
        left_out: the seeds that only one of them has.
        difference: mean of the paired differences, the entry's less the other's; None without a common seed.
        sd: their sample standard deviation; None with fewer than two.
        interval: the 95% confidence interval of the difference, for this comparison alone.
        p: of the two-sided paired t-test.
        adjusted_p: p after Holm's adjustment over all comparisons that could be tested.
        obstacle: why there are no interval and no p.
        seeds_needed: with how many seeds the test alone would find a difference of this size at 5% in 80 of 100
            cases, if size and spread are as observed. None with fewer than three seeds, which show no spread, and
            above a thousand.
    """

    entry: str
    against: str
    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    difference: float | None = None
    sd: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    adjusted_p: float | None = None
    obstacle: Obstacle | None = None
    seeds_needed: int | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the entry is better or worse by the adjusted p."""
        if self.adjusted_p is None or self.difference is None:
            return "not tested"
        if self.adjusted_p >= SIGNIFICANCE:
            return "not shown"
        return "better" if self.difference > 0 else "worse"

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "entry": self.entry,
            "against": self.against,
            "seeds": list(self.seeds),
            "left_out": list(self.left_out),
            "difference": self.difference,
            "sd": self.sd,
            "interval": list(self.interval) if self.interval else None,
            "p": self.p,
            "adjusted_p": self.adjusted_p,
            "obstacle": self.obstacle,
            "verdict": self.verdict,
            "seeds_needed": self.seeds_needed,
        }


@dataclass(frozen=True)
class Judgement:
    """What a final evaluation comes to.

    Attributes:
        entries: in the order in which they were begun, the winner before all others.
        comparisons: the winner with each baseline or, of a reproduction, each entry with the reference.
        sentence: the verdict in plain words, differences in percentage points.
    """

    entries: tuple[Entry, ...]
    comparisons: tuple[Comparison, ...]
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON: finite numbers, and None where there is none."""
        return {
            "entries": [entry.to_json() for entry in self.entries],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "sentence": self.sentence,
        }


def judge(trials: Iterable[TrialRecord], *, against: str | None = None) -> Judgement:
    """Compares the winner with every baseline or, with ``against``, every other entry with the one of that label.

    Each trial has its entry's label in ``baseline`` (None for the winner) and its seed in ``parameters["seed"]``.

    Raises:
        InputError: there is no winner, or no entry of that label; a trial has no seed; an entry has trials of two
            architectures, or two complete trials of one seed.
    """
    entries = _entries(trials)
    if against is None:
        if WINNER not in entries:
            raise InputError("there is no winner to judge: all trials are of baselines, or there are none")
        winner = entries[WINNER]
        comparisons = _adjusted([compare(winner, other) for other in entries.values() if other is not winner])
        return Judgement(tuple(entries.values()), comparisons, _on_the_winner(comparisons) + _failed(entries.values()))
    if against not in entries:
        raise unknown("entry to compare with", against, entries)
    reference = entries[against]
    comparisons = _adjusted([compare(other, reference) for other in entries.values() if other is not reference])
    return Judgement(
        tuple(entries.values()), comparisons, _against_one(against, comparisons) + _failed(entries.values())
    )


def compare(entry: Entry, other: Entry) -> Comparison:
    """One comparison by itself: its adjusted p is its p."""
    seeds = tuple(sorted(entry.accuracies.keys() & other.accuracies.keys()))
    left_out = tuple(sorted(entry.accuracies.keys() ^ other.accuracies.keys()))
    differences = [entry.accuracies[seed] - other.accuracies[seed] for seed in seeds]
    made = Comparison(
        entry.label,
        other.label,
        seeds,
        left_out,
        difference=fmean(differences) if differences else None,
        sd=stdev(differences) if len(differences) > 1 else None,
        obstacle=_obstacle(differences),
    )
    return made if made.obstacle else _tested(made, differences)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted by Holm's step-down method: the level at which each would just be significant.

    The i-th smallest of m is multiplied by m - i + 1, is never below the one before it, and never above 1.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def seeds_needed(difference: float, sd: float) -> int | None:
    """The fewest pairs with which a two-sided paired t-test at 5% finds a difference of that size with 80% power.

    By the noncentral t distribution. None where it takes more than a thousand, and for no difference.

    Args:
        difference: the mean of the paired differences.
        sd: their standard deviation, above zero.
    """
    effect = abs(difference) / sd
    # From below: where power is all but 1, the noncentral t distribution is not always computable.
    return next((pairs for pairs in range(2, _MOST_SEEDS + 1) if _power(effect, pairs) >= POWER), None)


def points(difference: float) -> str:
    """A difference of accuracies in percentage points, with its sign: 0.0042 is +0.42."""
    # Adding zero makes minus zero plus zero.
    return f"{round(100 * difference, 2) + 0.0:+.2f}"


def _entries(trials: Iterable[TrialRecord]) -> dict[str, Entry]:
    by_label: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.is_baseline, trial.number)):
        by_label.setdefault(WINNER if trial.baseline is None else trial.baseline, []).append(trial)
    return {label: _entry(label, found) for label, found in by_label.items()}


def _entry(label: str, trials: Sequence[TrialRecord]) -> Entry:
    ids = sorted({str(trial.architecture_id) for trial in trials})
    if len(ids) > 1:
        raise InputError(f"the trials of '{label}' are of different architectures ({', '.join(ids)}); they must be one")
    accuracies: dict[int, float] = {}
    metrics: dict[str, dict[int, float]] = {}
    broken, unfinished = set(), set()
    for trial in trials:
        seed = _seed(trial)
        if trial.accuracy is not None and math.isfinite(trial.accuracy):
            if seed in accuracies:
                raise InputError(f"'{label}' has two complete trials of seed {seed}; a seed counts once")
            accuracies[seed] = trial.accuracy
            for name, value in trial.metrics.items():
                if isinstance(value, float) and math.isfinite(value):
                    metrics.setdefault(name, {})[seed] = value
        elif trial.state in ("RUNNING", "WAITING"):
            unfinished.add(seed)
        else:
            broken.add(seed)
    # A trial that broke may have been tried again.
    unfinished -= accuracies.keys()
    broken -= accuracies.keys() | unfinished
    first = trials[0]
    by_seed = dict(sorted(accuracies.items()))
    metrics = {name: dict(sorted(values.items())) for name, values in metrics.items()}
    return Entry(
        label, first.architecture_id, first.flops, first.params, by_seed, len(broken), len(unfinished), metrics
    )


def _seed(trial: TrialRecord) -> int:
    seed = trial.parameters.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"trial {trial.number} has no seed: it is not a final evaluation's (its seed is {seed!r})")
    return seed


def _obstacle(differences: Sequence[float]) -> Obstacle | None:
    if len(differences) < 2:
        return "one seed in common" if differences else "no seed in common"
    return "equal differences" if max(differences) - min(differences) <= _ROUNDING else None


def _tested(made: Comparison, differences: Sequence[float]) -> Comparison:
    from scipy import stats  # takes a second to import

    assert made.difference is not None
    assert made.sd is not None
    test = stats.ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(CONFIDENCE)
    needed = seeds_needed(made.difference, made.sd) if len(differences) >= _FEWEST_FOR_A_SPREAD else None
    p = float(test.pvalue)
    return replace(made, interval=(float(low), float(high)), p=p, adjusted_p=p, seeds_needed=needed)


def _adjusted(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """What could not be tested is no part of the family that is adjusted."""
    adjusted = iter(holm([comparison.p for comparison in comparisons if comparison.p is not None]))
    return tuple(c if c.p is None else replace(c, adjusted_p=next(adjusted)) for c in comparisons)


def _power(effect: float, pairs: int) -> float:
    from scipy import special

    freedom, shift = pairs - 1, effect * math.sqrt(pairs)
    critical = special.stdtrit(freedom, 1 - SIGNIFICANCE / 2)
    # Far out the tail on the other side is nothing, and not computable.
    other_side = special.nctdtr(freedom, shift, -critical) if shift < _FAR else 0.0
    return float(1 - special.nctdtr(freedom, shift, critical) + other_side)


def _on_the_winner(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return "There is no baseline to compare the winner with."
    by_verdict = _by_verdict(comparisons)
    if all(len(comparison.seeds) < 2 for comparison in comparisons):
        lacking = _listed([f"{c.against} ({_reason(c)})" for c in comparisons])
        return f"Too few seeds to tell whether the winner is better than {lacking}: a test needs two in common."
    better = by_verdict["better"]
    parts = [
        _better(better, len(comparisons)) if better else "",
        _each("worse beyond seed noise than", by_verdict["worse"], _size),
        _each("not shown to be better than", by_verdict["not shown"], _size_and_doubt),
        _each("not testable against", by_verdict["not tested"], _reason),
    ]
    return f"The winner is {'; '.join(filter(None, parts))}."


def _better(comparisons: Sequence[Comparison], of: int) -> str:
    least = min(comparisons, key=lambda comparison: comparison.difference or 0.0)
    if len(comparisons) == 1:
        return f"better than {least.against} beyond seed noise ({_size(least)})"
    others = f"all {of} baselines" if len(comparisons) == of else _listed([c.against for c in comparisons])
    return f"better than {others} beyond seed noise (least over {least.against}: {_size(least)})"


def _against_one(reference: str, comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return f"There is no entry to compare {reference} with."
    by_verdict = _by_verdict(comparisons)
    phrases = {
        "better": "better beyond seed noise",
        "worse": "worse beyond seed noise",
        "not shown": "not shown to differ",
        "not tested": "not testable",
    }
    parts = []
    for verdict, phrase in phrases.items():
        describe = _reason if verdict == "not tested" else _difference
        if by_verdict[verdict]:
            parts.append(f"{phrase}: {_listed([f'{c.entry} ({describe(c)})' for c in by_verdict[verdict]])}")
    return f"Against {reference}, {'; '.join(parts)}."


def _failed(entries: Iterable[Entry]) -> str:
    failed = [f"{entry.failures} of {entry.label}" for entry in entries if entry.failures]
    return f" Left out, as they failed: {_listed(failed)}." if failed else ""


def _by_verdict(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    groups: dict[str, list[Comparison]] = {"better": [], "worse": [], "not shown": [], "not tested": []}
    for comparison in comparisons:
        groups[comparison.verdict].append(comparison)
    return groups


def _each(phrase: str, comparisons: Sequence[Comparison], describe: Callable[[Comparison], str]) -> str:
    return f"{phrase} {_listed([f'{c.against} ({describe(c)})' for c in comparisons])}" if comparisons else ""


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _difference(comparison: Comparison) -> str:
    return f"{points(comparison.difference or 0.0)} points"


def _size(comparison: Comparison) -> str:
    assert comparison.interval is not None
    low, high = comparison.interval
    interval = f"95% interval {points(low)} to {points(high)}"
    return f"{_difference(comparison)}, {interval}, {len(comparison.seeds)} seeds"


def _size_and_doubt(comparison: Comparison) -> str:
    needed = comparison.seeds_needed
    said = f"{_size(comparison)}, adjusted p {comparison.adjusted_p:.2g}"
    if needed is None or needed <= len(comparison.seeds) or (comparison.difference or 0.0) < 0:
        return said
    return f"{said}; about {needed} seeds would show it, if difference and spread are as observed"


def _reason(comparison: Comparison) -> str:
    reasons: dict[Obstacle | None, str] = {
        "no seed in common": "no seed in common",
        "one seed in common": f"{_difference(comparison)} at one seed",
        "equal differences": f"all {len(comparison.seeds)} differences are {_difference(comparison)}, without spread",
    }
    return reasons[comparison.obstacle]
