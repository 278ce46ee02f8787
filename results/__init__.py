"""What came of a search: queries of the study DB, the front, and an architecture as files.

    study = results.open_study("sqlite:///senas.db", "cifar10-resnet20")
    best = study.best(max_flops=40_000_000)
    results.export(study, best, "best")
    model = results.load("best")

Queries need SQLAlchemy alone and start at once; :func:`export` and :func:`load` bring in torch when first used.
"""

from typing import TYPE_CHECKING, Any

from results.judgement import Judgement, judge
from results.records import TrialRecord
from results.study import Study, StudySummary, open_study, studies

if TYPE_CHECKING:
    from results.exporting import export
    from results.loading import load

__all__ = [
    "Judgement",
    "Study",
    "StudySummary",
    "TrialRecord",
    "export",
    "judge",
    "load",
    "open_study",
    "studies",
]

# The modules are not called export and load: importing a submodule would put it in the place of the function.
_NEEDS_TORCH = {"export": "results.exporting", "load": "results.loading"}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_NEEDS_TORCH[name]), name)
