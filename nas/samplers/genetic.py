"""NSGA-II and NSGA-III whose children are bred as architectures.

Who survives a generation is decided by Optuna's samplers: non-dominated fronts under constrained domination, and
within a front crowding distance (NSGA-II; Deb et al. 2002, doi 10.1109/4235.996017) or niches around reference points
(NSGA-III; Deb and Jain 2014, doi 10.1109/TEVC.2013.2281535). Their crossover, however, knows only the parameters that
every trial so far has had. In a space where the others are not even asked unless SE is inserted, that leaves hardly
more than the insertions to evolve, and all else to chance. So parents are crossed and mutated by the space's own
moves, which know what matters where, and keep to the constraints.
"""

import warnings
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseGASampler, NSGAIIISampler, NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.samplers.architectures import ArchitectureSampler, Dice, Space
from nas.samplers.tournament import winner
from search_space.architecture import Architecture
from search_space.moves import crossover, mutate

POPULATION = 50
"""Optuna's default: a search of a hundred trials has its second generation, one of thousands goes on for hundreds."""

_CROSSOVER = 0.9
"""How often a child has two parents, as with Deb et al."""


class GeneticSampler(ArchitectureSampler, BaseGASampler):
    """Breeds whole architectures from the parents that a genetic sampler of Optuna's selects."""

    _dice: Dice

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Counts every trial to a generation, also one whose architecture is given from outside."""
        super().before_trial(study, trial)
        self.get_trial_generation(study, trial)

    def choose(self, study: Study, trial: FrozenTrial) -> Architecture:
        """A child of two parents, each the better of two drawn from those that survived, mutated once.

        Once is what Optuna's own mutation, each of n parameters with chance 1 / n, comes to on average. The first
        generation is random.
        """
        rng = self._dice.of(trial)
        survivors = self.get_parent_population(study, self.get_trial_generation(study, trial))
        if not survivors:
            return self.space.sample(rng)
        drawn = [winner(rng.choices(survivors, k=2), study.directions, rng) for _ in range(2)]
        parents = [self.space.decode(parent.params) for parent in drawn]
        # A baseline is trained whether or not it meets the constraints, and what breaks them has no children.
        mother, father = (parent if parent in self.space else self.space.sample(rng) for parent in parents)
        child = crossover(self.space, mother, father, rng) if rng.random() < _CROSSOVER else mother
        return mutate(self.space, child, rng)

    def mark(self) -> dict[str, Any]:
        """The mark of the first generation, for a trial to count that this sampler never proposed.

        Optuna's samplers find their generations by such marks, and overlook trials that have none. However many the
        first holds, the second's parents are the best of all of them. That is what selection generation by generation
        comes to, as the best always survive.
        """
        return {self._get_generation_key(): 0}


class NSGA2Sampler(GeneticSampler, NSGAIISampler):
    """NSGA-II over whole architectures."""

    def __init__(self, space: Space, *, seed: int) -> None:
        NSGAIISampler.__init__(self, population_size=POPULATION, seed=seed)
        ArchitectureSampler.__init__(self, space)
        self._dice = Dice(seed)


class NSGA3Sampler(GeneticSampler, NSGAIIISampler):
    """NSGA-III over whole architectures."""

    def __init__(self, space: Space, *, seed: int) -> None:
        with warnings.catch_warnings():
            # "Experimental" since Optuna 3.2, and there is no other NSGA-III.
            warnings.simplefilter("ignore", ExperimentalWarning)
            NSGAIIISampler.__init__(self, population_size=POPULATION, seed=seed)
        ArchitectureSampler.__init__(self, space)
        self._dice = Dice(seed)
