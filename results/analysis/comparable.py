"""The accuracies at which trials are compared: of one epoch that all of them reached.

ASHA stops trials that do badly. The final accuracies are therefore those of a sample chosen by how well it did, in
which every effect looks smaller than it is. The accuracies at the first rung are of all trials.
"""

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
    """The trials that got to an epoch, in whatever state they are now, with their accuracies there.

    Args:
        study: any.
        epoch: counted from 1; None for the last that all trials reached which were completed or stopped. Where
            completed trials have no curve, it is their final accuracies.
        notes: takes a sentence on what is compared.

    Raises:
        InputError: no trial has got to that epoch.
    """
    ended = [trial for trial in study.records if trial.state in ("COMPLETE", "PRUNED") and trial.curve]
    if epoch is None and (not ended or any(trial.state == "COMPLETE" and not trial.curve for trial in study.records)):
        accuracies = [(trial, trial.accuracy) for trial in study.records if trial.accuracy is not None]
        compared = "final accuracies of the completed trials"
    else:
        reached = epoch or min(len(trial.curve) for trial in ended)
        longest = max((len(trial.curve) for trial in study.records), default=0)
        if reached > longest:
            raise InputError(f"no trial of study '{study.name}' has got to epoch {reached}: the furthest is {longest}")
        accuracies = [(trial, trial.curve[reached - 1]) for trial in study.records if len(trial.curve) >= reached]
        chosen = "as asked for" if epoch else "the last that every completed or stopped trial reached"
        compared = f"accuracies after epoch {reached} of {longest}, {chosen}"
        stopped = sum(len(trial.curve) < reached for trial in ended)
        if stopped:
            compared += (
                f"; the {stopped} trials stopped before it are missing, so the effects look smaller than they are"
            )
    outcomes = tuple(Outcome(trial, accuracy) for trial, accuracy in accuracies if isfinite(accuracy))
    if outcomes:
        proposed = sum(bool(outcome.trial.parameters) for outcome in outcomes)
        without = (
            f" of {len(outcomes)} trials; the others have no parameters" if proposed < len(outcomes) else " trials"
        )
        notes.append(f"Importances and effects are of the {compared} ({proposed}{without}).")
    return outcomes
