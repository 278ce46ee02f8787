"""How well the order of trials after a few epochs foretells the order at the end, on which ASHA relies."""

from collections.abc import Iterator, Mapping, Sequence
from math import atanh, isfinite, sqrt, tanh

from scipy.stats import norm, spearmanr

from results.analysis.findings import RungCorrelation
from results.study import Study

Curve = Mapping[int, float]
"""Accuracies by epoch."""

_FEWEST_TRIALS = 5
_CONFIDENCE = 0.95


def rung_correlations(study: Study, notes: list[str]) -> tuple[RungCorrelation, ...]:
    """Spearman's correlation of the accuracies at each rung with those at the end, over the trials that have both.

    The rungs are ASHA's; in a study that has none every recorded epoch is one. Only trials that have an accuracy after
    the last epoch count. Where others were stopped before it these are a sample chosen by the very accuracies that are
    correlated, in which the correlation is usually lower than over all trials.
    """
    curves = [trial.by_epoch for trial in study.records if trial.curve]
    last = study.epochs or max((max(curve) for curve in curves), default=0)
    whole = [curve for curve in curves if last in curve]
    if len(whole) < _FEWEST_TRIALS:
        notes.append(
            f"There are no rank correlations: {len(whole)} trials have a curve to the last epoch, "
            f"and at least {_FEWEST_TRIALS} are needed."
        )
        return ()
    found = [_correlation(whole, epoch, last) for epoch in _rungs(study, whole, last)]
    told = tuple(correlation for correlation in found if correlation is not None)
    if not told:
        notes.append(
            f"There are no rank correlations: no epoch before {last} has an accuracy of at least {_FEWEST_TRIALS} of "
            "the trials with one after it, or they are all equal."
        )
        return ()
    stopped = sum(trial.state == "PRUNED" and last not in trial.by_epoch for trial in study.records)
    if stopped:
        notes.append(
            f"The rank correlations are of the {len(whole)} trials with an accuracy after epoch {last}. The {stopped} "
            "that were stopped before it are missing, and were chosen by such accuracies: over all trials the "
            "correlations would usually be higher."
        )
    return told


def spearman_interval(rho: float, trials: int) -> tuple[float, float]:
    """The 95% confidence interval of a rank correlation, by Fisher's z with the variance of Bonett & Wright (2000).

    A perfect order has no interval by it; it gets that of the order with two neighbours changed, up to the end.
    """
    one_swap = 1 - 12 / (trials * (trials**2 - 1))
    inner = max(-one_swap, min(one_swap, rho))
    width = norm.ppf((1 + _CONFIDENCE) / 2) * sqrt((1 + inner**2 / 2) / (trials - 3))
    low, high = tanh(atanh(inner) - width), tanh(atanh(inner) + width)
    return (-1.0 if rho < -one_swap else low), (1.0 if rho > one_swap else high)


def _correlation(curves: Sequence[Curve], epoch: int, last: int) -> RungCorrelation | None:
    """None where too few trials have both accuracies, or all have the same."""
    pairs = [(curve[epoch], curve[last]) for curve in curves if epoch in curve]
    pairs = [pair for pair in pairs if all(map(isfinite, pair))]
    early, late = zip(*pairs, strict=True) if pairs else ((), ())
    if len(pairs) < _FEWEST_TRIALS or len(set(early)) == 1 or len(set(late)) == 1:
        return None
    rho = float(spearmanr(early, late).statistic)
    return RungCorrelation(epoch, last, len(pairs), rho, *spearman_interval(rho, len(pairs)))


def _rungs(study: Study, curves: Sequence[Curve], last: int) -> Iterator[int]:
    match study.config:
        case {"search": {"asha": {"min_epochs": int(epoch), "eta": int(eta)}}}:
            while epoch < last:
                yield epoch
                epoch *= eta
        case _:
            yield from sorted({epoch for curve in curves for epoch in curve if epoch < last})
