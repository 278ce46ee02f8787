"""Samplers by name: what proposes architectures of a space.

``tpe``, ``gp`` and ``random`` are Optuna's own, which choose parameters. ``nsga2`` and ``nsga3`` select as Optuna's do,
but breed whole architectures; ``evolution`` and ``exhaustive`` choose whole architectures as well. ``gp`` models only
the parameters that every trial so far has had, and draws the others at random: where SE need not be inserted that is
hardly more than the insertions.
"""

import warnings
from collections.abc import Callable

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from nas.samplers.architectures import ArchitectureSampler, Space
from nas.samplers.evolution import EvolutionSampler
from nas.samplers.exhaustive import ExhaustiveSampler
from nas.samplers.genetic import NSGA2Sampler, NSGA3Sampler

__all__ = [
    "SAMPLERS",
    "ArchitectureSampler",
    "EvolutionSampler",
    "ExhaustiveSampler",
    "NSGA2Sampler",
    "NSGA3Sampler",
    "SamplerFactory",
    "Space",
]

SamplerFactory = Callable[[Space, int], BaseSampler]
"""Makes a sampler for a space, with a seed."""


def _tpe(seed: int) -> BaseSampler:
    """Multivariate TPE (Falkner et al., arXiv 1807.01774) on groups of parameters that are asked together.

    Without groups, parameters that are not always asked are each modelled alone, and all trials put in order again
    for each: of several objectives that is every parameter, so that a proposal takes several times as long.
    """
    with warnings.catch_warnings():
        # "Experimental" since Optuna 2.8, and the only way to model what is asked only sometimes together.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, constant_liar=True, multivariate=True, group=True)


SAMPLERS: dict[str, SamplerFactory] = {
    "tpe": lambda space, seed: _tpe(seed),
    "nsga2": lambda space, seed: NSGA2Sampler(space, seed=seed),
    "nsga3": lambda space, seed: NSGA3Sampler(space, seed=seed),
    # What it has no model of is drawn at random as a matter of course: that is no news for whoever searches.
    "gp": lambda space, seed: GPSampler(seed=seed, warn_independent_sampling=False),
    "random": lambda space, seed: RandomSampler(seed=seed),
    "exhaustive": lambda space, seed: ExhaustiveSampler(space),
    "evolution": lambda space, seed: EvolutionSampler(space, seed=seed),
}
