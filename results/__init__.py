"""What came of a search: queries of the study DB, the front, and an architecture as files.

    study = results.open_study("sqlite:///senas.db", "cifar10-resnet20")
    good = study.trials("accuracy > 0.9 and layer3.position == 'pre'", sort="flops", limit=10)
    best = study.best(max_flops=40_000_000)
    results.export(study, best, "best")
    model = results.load("best")

Each module is loaded when first used: queries need SQLAlchemy alone and start at once, :func:`export` and :func:`load`
bring in torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.exporting import export
    from results.judgement import Judgement, judge
    from results.loading import load
    from results.records import TrialRecord
    from results.study import Study, StudySummary, open_study, studies

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
_MODULES = {
    "exporting": ("export",),
    "judgement": ("Judgement", "judge"),
    "loading": ("load",),
    "records": ("TrialRecord",),
    "study": ("Study", "StudySummary", "open_study", "studies"),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULE_OF[name]), name)
