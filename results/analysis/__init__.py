"""What a study says of its choices: which matter, in which direction, and how far early epochs and the search got.

    analysis = analyze(results.open_study("sqlite:///senas.db", "digits"))
    for effect in analysis.effects: ...

docs/understanding.md says what each number means and does not mean.
"""

from results.analysis.analyzing import analyze
from results.analysis.findings import Analysis, Effect, HypervolumePoint, Importance, RungCorrelation

__all__ = ["Analysis", "Effect", "HypervolumePoint", "Importance", "RungCorrelation", "analyze"]
