"""Samplers that choose a whole architecture at once instead of one parameter after another."""

import random
from abc import abstractmethod
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from search_space.architecture import Architecture
from search_space.several import SeveralBackbones
from search_space.space import SearchSpace

Space = SearchSpace | SeveralBackbones


class ArchitectureSampler(BaseSampler):
    """Gives a trial the parameters of an architecture, such that ``space.suggest`` of the trial makes just that.

    All of the architecture's parameters are given as relative ones, by Optuna's word for those chosen together, so
    none is left to be chosen alone.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(choices) for name, choices in space.parameters.items()
        }

    @abstractmethod
    def choose(self, study: Study, trial: FrozenTrial) -> Architecture:
        """The architecture that the space holds and a trial is to have."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter of the space, whether or not it will matter."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the chosen architecture.

        Raises:
            ValueError: the space has no such architecture.
        """
        chosen = self.choose(study, trial)
        parameters = self.space.encode(chosen)
        if parameters is None:
            raise ValueError(f"the space does not hold the chosen {chosen.id}")
        return parameters

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never: an architecture's parameters are all that is asked for.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{type(self).__name__} chooses whole architectures, and {param_name} is not of the chosen")


class Dice:
    """Randomness that belongs to a trial: it depends on the seed and the trial's number and nothing else.

    So a search that goes on after a stop draws what comes next, and not what it began with.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, trial: FrozenTrial) -> random.Random:
        """A generator for one trial."""
        # A text, because of numbers the generator takes the absolute value, and no two pairs make the same text.
        return random.Random(f"{self._seed}/{trial.number}")
