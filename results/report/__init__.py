"""A study as one self-contained page: the answer first, then what it rests on."""

from results.report.evaluations import Evaluation, evaluations_of
from results.report.page import Report, render

__all__ = ["Evaluation", "Report", "evaluations_of", "render"]
