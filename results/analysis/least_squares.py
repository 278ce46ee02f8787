"""Ordinary least squares, with intervals that do not take the noise for equally large everywhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.floating[Any]]

CONFIDENCE = 0.95
_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Estimate:
    """A coefficient and its 95% confidence interval."""

    value: float
    low: float
    high: float


def fit(columns: Array, values: Array) -> list[Estimate | None]:
    """The coefficient of each column [n, p], beside a constant, in a linear model of the values [n].

    The covariance is HC3 (MacKinnon & White, 1985), the intervals are Student's with the degrees of freedom that are
    left. A coefficient is None where the columns do not tell it from others. Rows that the others say nothing of, by
    which a coefficient alone is decided, have no residual and so show no noise: they are set aside first.

    Returns:
        None for all columns where no degree of freedom is left.
    """
    design = np.column_stack([np.ones(len(values)), columns])
    inverse, leverage = _pseudo_inverse(design)
    while (alone := leverage > 1 - _TOLERANCE).any():
        design, values = design[~alone], values[~alone]
        inverse, leverage = _pseudo_inverse(design)
    freedom = len(values) - int(np.linalg.matrix_rank(design)) if len(values) else 0
    if freedom < 1:
        return [None] * columns.shape[1]
    coefficients = inverse @ values
    residuals = values - design @ coefficients
    spread = np.linalg.norm(inverse * (residuals / (1 - leverage)), axis=1)
    reach = float(student.ppf((1 + CONFIDENCE) / 2, freedom))
    told_apart = np.abs(inverse @ design - np.eye(design.shape[1])).max(axis=1) < _TOLERANCE
    return [
        Estimate(float(value), float(value - reach * sd), float(value + reach * sd)) if told else None
        for value, sd, told in list(zip(coefficients, spread, told_apart, strict=True))[1:]
    ]


def _pseudo_inverse(design: Array) -> tuple[Array, Array]:
    """The pseudo-inverse [p, n], and each row's leverage [n], its share in its own prediction."""
    inverse = np.linalg.pinv(design, rcond=_TOLERANCE)
    return inverse, (design * inverse.T).sum(axis=1)
