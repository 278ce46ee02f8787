"""Which members of one front come first: non-dominated sorting alone does not say.

A strategy is given the distinct members of a front, one a row, and the same on scaled axes. It yields row numbers,
the foremost first, so that whoever asks for a few places waits for no more. The order depends on the values alone,
not on the order of the rows.

An infinite coordinate is that of a failed metric. It would be infinitely far from everything and so come first, with
nothing to show; such members come after all others of their front, in lexicographic order.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from nas.asha.fronts import Points

TieBreak = Callable[[Points, Points], Iterator[int]]
"""Takes a front's distinct members and their scaled coordinates; yields the row numbers, the foremost first."""


def epsilon_net(losses: Points, coordinates: Points) -> Iterator[int]:
    """Each next one is the farthest from those before it; ties go to the lexicographically lower.

    The first is the best in the first objective, so the most accurate trial is never stopped for being alike to
    others. As in Schmucker et al., arXiv 2106.12639.
    """
    whole, failed = _lexicographically(losses, coordinates)
    where = coordinates[whole]
    gaps = np.full(len(whole), np.inf)
    for _ in whole:
        farthest = int(gaps.argmax())
        yield int(whole[farthest])
        gaps = np.minimum(gaps, np.square(where - where[farthest]).sum(axis=1))
        gaps[farthest] = -np.inf
    yield from failed.tolist()


def crowding(losses: Points, coordinates: Points) -> Iterator[int]:
    """The crowding distance of NSGA-II, largest first; ties go to the lexicographically lower.

    Along each axis a member's distance grows by the gap between its two neighbours; the first and the last along an
    axis have no second neighbour and are infinitely far (Deb et al., "A fast and elitist multiobjective genetic
    algorithm: NSGA-II", 2002). Where neither axis nor values tell members apart, the lexicographic order does. An
    axis on which all are equal counts for nothing. The best in the first objective comes first.
    """
    whole, failed = _lexicographically(losses, coordinates)
    where = coordinates[whole]
    distances = np.zeros(len(whole))
    for axis in where.T:
        along = axis.argsort(kind="stable")
        values = axis[along]
        if (values == values[:1]).all():
            continue
        distances[along[1:-1]] += values[2:] - values[:-2]
        distances[along[[0, -1]]] = np.inf
    distances[:1] = np.inf
    yield from whole[(-distances).argsort(kind="stable")].tolist()
    yield from failed.tolist()


TIES: dict[str, TieBreak] = {"epsilon_net": epsilon_net, "crowding": crowding}
"""The strategies by name."""


def _lexicographically(losses: Points, coordinates: Points) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows in lexicographic order of the losses: those with finite coordinates, and the others."""
    rows = np.lexsort(losses.T[::-1])
    finite = np.isfinite(coordinates[rows]).all(axis=1)
    return rows[finite], rows[~finite]
