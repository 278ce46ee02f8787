"""A study as one self-contained page: the answer first, then what it rests on."""

from results.report.evaluations import Evaluation, evaluations_of
from results.report.page import Report, render
from results.report.recommendation import recommend

__all__ = ["Evaluation", "Report", "evaluations_of", "recommend", "render"]
