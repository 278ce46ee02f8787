"""Every architecture of a space, once, in order."""

from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.samplers.architectures import ArchitectureSampler, Space
from search_space.architecture import Architecture
from search_space.enumeration import enumerate_architectures
from search_space.errors import InputError

LIMIT = 1_000_000
"""More architectures than this nobody trains."""


class ExhaustiveSampler(ArchitectureSampler):
    """Goes through the distinct architectures that meet the constraints, in the order of ``enumerate_architectures``.

    Each is made when it is its turn. After the last, it begins again.

    Raises:
        InputError: the space has more than a million architectures, constraints apart.
    """

    def __init__(self, space: Space) -> None:
        if space.size > LIMIT:
            raise InputError(
                f"the sampler 'exhaustive' is for spaces of at most {LIMIT:,} architectures, and this one has "
                f"{space.size:,}: offer fewer choices, or take the sampler tpe, nsga2, evolution or random"
            )
        super().__init__(space)
        self._left = enumerate_architectures(space)

    def choose(self, study: Study, trial: FrozenTrial) -> Architecture:
        """The next in order."""
        following = next(self._left, None)
        if following is None:
            self._left = enumerate_architectures(self.space)
            following = next(self._left)
        return following
