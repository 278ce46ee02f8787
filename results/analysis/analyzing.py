"""Asking a study for all that it says of its choices."""

from results.analysis.comparable import comparable
from results.analysis.effects import effects
from results.analysis.findings import Analysis
from results.analysis.growth import growth
from results.analysis.importance import importances
from results.analysis.rungs import rung_correlations
from results.study import Study


def analyze(study: Study, *, seed: int = 0, epoch: int | None = None) -> Analysis:
    """All that can be said of a study as it is now; what cannot be said is absent, and a note says why.

    Args:
        study: any that :func:`results.open_study` opens, running and empty ones too.
        seed: of fANOVA's forest. Nothing else is random.
        epoch: importances and effects are of the accuracies after that epoch. If not given: after the last epoch
            that all trials reached which were completed or stopped.

    Raises:
        InputError: no trial has an accuracy after that epoch.
    """
    notes: list[str] = []
    outcomes = comparable(study, epoch, notes)
    return Analysis(
        importances=importances(study, outcomes, seed, notes),
        effects=effects(outcomes, notes, study.sites),
        rungs=rung_correlations(study, notes),
        hypervolume=growth(study, notes),
        notes=tuple(notes),
    )
