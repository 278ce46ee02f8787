"""The accuracies at which trials are compared: of one epoch that all of them reached.

ASHA stops trials that do badly. The final accuracies are therefore those of a sample chosen by how well it did, in
which every effect looks smaller than it is. The accuracies at the first rung are of all trials.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from results.records import TrialRecord
from results.study import Study
from search_space.errors import InputError


@dataclass(frozen=True)
class Outcome:
    """A trial and the accuracy that it is compared by, 0 to 1."""

    trial: TrialRecord
    accuracy: float


def comparable(study: Study, epoch: int | None, notes: list[str]) -> tuple[Outcome, ...]:
    """The trials that have an accuracy after an epoch, in whatever state they are now, with it.

    Args:
        study: any.
        epoch: as it was recorded, in most studies from 1; None for the last of which all trials have one that were
            completed or stopped. Where completed trials have no curve, it is their final accuracies.
        notes: takes a sentence on what is compared.

    Raises:
        InputError: no trial has an accuracy after that epoch.
    """
    curves = [(trial, trial.by_epoch) for trial in study.records if trial.curve]
    ended = [curve for trial, curve in curves if trial.state in ("COMPLETE", "PRUNED")]
    if epoch is None and (not ended or any(trial.state == "COMPLETE" and not trial.curve for trial in study.records)):
        accuracies = [(trial, trial.accuracy) for trial in study.records if trial.accuracy is not None]
        compared = "final accuracies of the completed trials"
    else:
        recorded = {step for _, curve in curves for step in curve}
        chosen = _last_of_all(ended) if epoch is None else epoch
        if chosen not in recorded:
            raise InputError(
                f"no trial of study '{study.name}' has an accuracy after epoch {chosen}{_nearest(recorded, chosen)}"
            )
        accuracies = [(trial, curve[chosen]) for trial, curve in curves if chosen in curve]
        why = "the last that every completed or stopped trial reached" if epoch is None else "as asked for"
        compared = f"accuracies after epoch {chosen} of {max(recorded)}, {why}{_missing(ended, chosen)}"
    outcomes = tuple(Outcome(trial, accuracy) for trial, accuracy in accuracies if isfinite(accuracy))
    if outcomes:
        proposed = sum(bool(outcome.trial.parameters) for outcome in outcomes)
        without = (
            f" of {len(outcomes)} trials; the others have no parameters" if proposed < len(outcomes) else " trials"
        )
        notes.append(f"Importances and effects are of the {compared} ({proposed}{without}).")
    return outcomes


def _last_of_all(curves: Sequence[Mapping[int, float]]) -> int:
    """The last epoch that is in all curves; where there is none, the last of the shortest."""
    common = set[int].intersection(*map(set, curves))
    return max(common, default=min(max(curve) for curve in curves))


def _missing(ended: Sequence[Mapping[int, float]], epoch: int) -> str:
    """What is to be said of the completed and stopped trials that have no accuracy after an epoch."""
    stopped = sum(max(curve) < epoch for curve in ended)
    skipped = sum(epoch not in curve for curve in ended) - stopped
    said = f"; the {stopped} trials stopped before it are missing, so the effects look smaller than they are"
    return (said if stopped else "") + (f"; {skipped} trials did not record it" if skipped else "")


def _nearest(recorded: Collection[int], epoch: int) -> str:
    return f": the nearest recorded is {min(recorded, key=lambda step: abs(step - epoch))}" if recorded else ""
