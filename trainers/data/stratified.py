"""Samples that keep every class's share."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def stratified_sample(labels: NDArray[np.int64], count: int, seed: int) -> Indices:
    """The indices, ascending, of ``count`` of the labels [N], each class's part of them exact to within one.

    Equal arguments give equal samples, under every version of NumPy: RandomState's streams are frozen, which those
    of the newer generators are not.
    """
    random = np.random.RandomState(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, _quotas(sizes, count), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _quotas(sizes: Indices, count: int) -> Indices:
    """Shares of ``count`` proportional to the sizes, by largest remainder; ties go to the earlier class."""
    exact = sizes.astype(np.int64) * count
    quotas, remainders = np.divmod(exact, sizes.sum())
    by_remainder = np.argsort(-remainders, kind="stable")
    quotas[by_remainder[: count - quotas.sum()]] += 1
    return quotas
