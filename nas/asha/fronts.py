"""Non-dominated sorting of loss vectors that keep arriving.

A vector dominates another if it is nowhere worse and somewhere better. Front 0 are the vectors that nothing
dominates, front 1 those that nothing dominates without front 0, and so on.

A new vector goes to the first front that does not dominate it. What it dominates there is pushed to the next front,
what that dominates there to the one after, until nothing is pushed: the level update of Li, Deb, Zhang and Zhang
("Efficient Nondomination Level Update Method for Steady-State Evolutionary Multiobjective Optimization", IEEE
Transactions on Cybernetics, 2017). The first front is found by bisection, as in ENS-BS (Zhang et al., doi
10.1109/TEVC.2014.2308305): what one front dominates is dominated by all fronts before it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Self

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Vectors, one a row."""


@dataclass(frozen=True, slots=True)
class _Front:
    """Distinct vectors of which none dominates another, one a column, and their indices."""

    columns: NDArray[np.float64]
    indices: NDArray[np.intp]

    def part(self, chosen: NDArray[np.bool_]) -> Self:
        return type(self)(self.columns[:, chosen], self.indices[chosen])

    def joined_by(self, other: Self) -> Self:
        return type(self)(
            np.concatenate((self.columns, other.columns), axis=1), np.concatenate((self.indices, other.indices))
        )


class Fronts:
    """A growing multiset of loss vectors, all minimised, and the front of each; equal vectors share theirs.

    A loss may be inf, which is worse than any number. Distinct vectors have indices in the order of their arrival.

    Args:
        objectives: how many losses a vector has.

    Raises:
        ValueError: there is no objective.
    """

    def __init__(self, objectives: int) -> None:
        if objectives < 1:
            raise ValueError(f"objectives must be at least 1, not {objectives}")
        self._objectives = objectives
        self._index: dict[tuple[float, ...], int] = {}
        self._ranks = np.empty(0, dtype=np.intp)
        self._counts = np.empty(0, dtype=np.intp)
        self._fronts: list[_Front] = []
        self._recorded = 0

    def __len__(self) -> int:
        return self._recorded

    @property
    def n_fronts(self) -> int:
        """The number of fronts; ranks are below it."""
        return len(self._fronts)

    @property
    def ranks(self) -> NDArray[np.intp]:
        """The rank of each distinct vector, by index."""
        return self._ranks.copy()

    @property
    def sizes(self) -> NDArray[np.intp]:
        """How many vectors, equal ones counted each, are in each front, by rank."""
        sizes = np.zeros(len(self._fronts), dtype=np.intp)
        np.add.at(sizes, self._ranks, self._counts)
        return sizes

    def add(self, losses: Sequence[float]) -> int:
        """Records a vector, once more if it has been before.

        Returns:
            The index of the vector.

        Raises:
            ValueError: a loss is NaN, or there are more or fewer than the objectives.
        """
        vector = tuple(map(float, losses))
        if len(vector) != self._objectives:
            raise ValueError(f"there must be {self._objectives} losses, not {vector}")
        if any(map(isnan, vector)):
            raise ValueError(f"losses must not be NaN, as in {vector}")
        self._recorded += 1
        index = self._index.setdefault(vector, len(self._index))
        if index < len(self._counts):
            self._counts[index] += 1
        else:
            self._counts = np.append(self._counts, 1)
            self._ranks = np.append(self._ranks, 0)
            self._insert(_Front(np.array(vector)[:, None], np.array([index])))
        return index

    def rank(self, losses: Sequence[float]) -> int:
        """The rank of a recorded vector: 0 if nothing recorded dominates it.

        Raises:
            KeyError: the vector has not been recorded.
        """
        return int(self._ranks[self._index[tuple(losses)]])

    def count(self, losses: Sequence[float]) -> int:
        """How often a vector has been recorded."""
        index = self._index.get(tuple(losses))
        return 0 if index is None else int(self._counts[index])

    def ahead(self, rank: int) -> int:
        """How many vectors, equal ones counted each, are in better fronts than that of a rank."""
        return int(self._counts[self._ranks < rank].sum())

    def size(self, rank: int) -> int:
        """How many vectors, equal ones counted each, are in a front."""
        return int(self._counts[self._fronts[rank].indices].sum())

    def members(self, rank: int) -> Points:
        """The distinct vectors of a front, in no order that means anything."""
        return self._fronts[rank].columns.T.copy()

    def _insert(self, coming: _Front) -> None:
        def spares_it(front: _Front) -> bool:
            return not (front.columns <= coming.columns).all(axis=0).any()

        rank = bisect_left(self._fronts, True, key=spares_it)
        while rank < len(self._fronts):
            front = self._fronts[rank]
            no_better = np.logical_and.reduce(coming.columns[:, :, None] <= front.columns[:, None, :])
            falls: NDArray[np.bool_] = np.logical_or.reduce(no_better)
            if falls.all():
                # All fronts from here on keep their members and move down by one.
                self._ranks[self._ranks >= rank] += 1
                break
            self._ranks[coming.indices] = rank
            self._fronts[rank] = front.part(~falls).joined_by(coming)
            if not falls.any():
                return
            coming = front.part(falls)
            rank += 1
        self._ranks[coming.indices] = rank
        self._fronts.insert(rank, coming)
