"""Multi-objective ASHA: who trains on is decided early, by how trials compare on every objective at once.

Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv
1810.05934), with the order of one metric replaced by non-dominated sorting and an epsilon-net within a front
(Schmucker et al., "Multi-objective Asynchronous Successive Halving", arXiv 2106.12639). Trials are compared when they
have trained for ``min_epochs * eta^k`` epochs, a rung, and about the best 1 / eta of all that have been recorded
there go on.

``StoppingASHA`` decides once, as a trial reaches a rung: it trains on at once or never. ``PromotionASHA`` pauses every
trial there and resumes the best whenever places come free, as more have been recorded. Stopping needs no checkpoint
to be resumed from, but is generous or harsh with those who come early, when there are few to compare with; promotion
corrects itself, at the price of keeping the paused.

Nothing here knows of Ray, a clock or a database. Losses are minimised: the caller negates what it maximises, and
gives inf for what failed.
"""

from nas.asha.decisions import Asha, Verdict
from nas.asha.fronts import Fronts
from nas.asha.promotion import PromotionASHA
from nas.asha.rungs import Brackets, Losses, Range, Rung, rung_levels
from nas.asha.stopping import StoppingASHA
from nas.asha.ties import TIES, TieBreak, crowding, epsilon_net

__all__ = [
    "TIES",
    "Asha",
    "Brackets",
    "Fronts",
    "Losses",
    "PromotionASHA",
    "Range",
    "Rung",
    "StoppingASHA",
    "TieBreak",
    "Verdict",
    "crowding",
    "epsilon_net",
    "rung_levels",
]
