"""Regularised evolution (Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019,
arXiv 1802.01548), for any number of objectives.

The population are the latest trials that ended with values, so the oldest dies whenever one is born, however good it
was. The parent is the best of some drawn from it, and the child is a mutation of the parent. The best is, in place
of the paper's highest accuracy, one that none of those drawn beats by constrained domination; of several it is any.
"""

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.samplers.architectures import ArchitectureSampler, Dice, Space
from nas.samplers.tournament import winner
from search_space.architecture import Architecture
from search_space.moves import mutate


class EvolutionSampler(ArchitectureSampler):
    """Mutates the best of a few of the latest trials.

    Args:
        population: how many trials live; as many are drawn at random to begin with. The paper has 100 for 20,000
            trials; searches here are of 50 to 10,000.
        tournament: how many are drawn to find a parent, a quarter of the population as in the paper.
    """

    def __init__(self, space: Space, *, seed: int, population: int = 32, tournament: int = 8) -> None:
        super().__init__(space)
        self._population = population
        self._tournament = tournament
        self._dice = Dice(seed)

    def choose(self, study: Study, trial: FrozenTrial) -> Architecture:
        """A mutation of a parent, or a random architecture while the population is not complete."""
        rng = self._dice.of(trial)
        born = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(born) < self._population:
            return self.space.sample(rng)
        contenders = rng.sample(born[-self._population :], self._tournament)
        parent = self.space.decode(winner(contenders, study.directions, rng).params)
        # A baseline is trained whether or not it meets the constraints, and what breaks them has no children.
        return mutate(self.space, parent, rng) if parent in self.space else self.space.sample(rng)
