"""A search put together from a configuration's plan: the proposer, ASHA and the engine, without what runs the trials.

A real search and a simulated one are the same search, because both are made here.
"""

from collections.abc import Callable

from nas.asha import TIES, Asha, PromotionASHA, StoppingASHA
from nas.config import SearchConfig
from nas.engine import Engine, Given, Listener, Settings
from nas.plan import Plan
from nas.proposer import Proposer
from nas.record import StudyRecord
from nas.samplers import SAMPLERS
from nas.stall import StallRule


def make_engine(
    planned: Plan, record: StudyRecord, *, slots: Callable[[], int], listener: Listener | None = None
) -> Engine:
    """The engine of a plan, which goes on with what the study has.

    Args:
        slots: how many trials can be trained at once, asked whenever there may be room for one more.
        listener: told of what happens.
    """
    settings = planned.config.search
    stall = settings.stop_when_stalled
    return Engine(
        record,
        Proposer(
            planned.space,
            SAMPLERS[settings.sampler](planned.space, settings.seed),
            directions=[objective.direction for objective in planned.objectives],
            seed=settings.seed,
        ),
        make_asha(settings, planned),
        Settings(settings.trials, settings.epochs, settings.seed, planned.config.resources.retries),
        objectives=planned.objectives,
        price=planned.price,
        price_objectives=planned.price_objectives,
        given=[Given(architecture, name) for name, architecture in planned.baselines().items()],
        slots=slots,
        stall=(
            None if stall is None else StallRule(planned.objectives, trials=stall.trials, improvement=stall.improvement)
        ),
        listener=listener,
    )


def make_asha(settings: SearchConfig, planned: Plan) -> Asha | None:
    """The multi-objective ASHA of a configuration; None if it has none."""
    if settings.asha is None:
        return None
    variant = {"stopping": StoppingASHA, "promotion": PromotionASHA}[settings.asha.variant]
    return variant(
        min_epochs=settings.asha.min_epochs,
        max_epochs=settings.epochs,
        eta=settings.asha.eta,
        ranges=planned.ranges(),
        brackets=settings.asha.brackets,
        ties=TIES[settings.asha.ties],
    )
