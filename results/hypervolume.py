"""The hypervolume of a front: how much of the space below a reference point it dominates (Zitzler & Thiele, 1998)."""

from collections.abc import Iterable, Sequence

from results.front import front

_BEYOND_THE_WORST = 0.1
"""Of the range of each objective, so that the ends of a front count as well."""


class Box:
    """A space in which objectives of all units count alike.

    It goes from the best value of each objective to a tenth of its range beyond the worst. An objective that never
    varies has a range of one.
    """

    def __init__(self, losses: Iterable[Sequence[float]]) -> None:
        """Around points whose every objective is minimised and finite."""
        axes = list(zip(*losses, strict=True))
        self._lows = [min(axis) for axis in axes]
        self._widths = [max(axis) - low or 1.0 for axis, low in zip(axes, self._lows, strict=True)]

    def dominated(self, losses: Iterable[Sequence[float]]) -> float:
        """The share of the box that points dominate, 0 to 1; shares of one box alone can be compared."""
        end = 1 + _BEYOND_THE_WORST
        scaled = [
            [(value - low) / width for value, low, width in zip(point, self._lows, self._widths, strict=True)]
            for point in losses
        ]
        return hypervolume(scaled, [end] * len(self._lows)) / end ** len(self._lows)


def hypervolume(losses: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """The exact hypervolume of points whose every objective is minimised.

    Points that are not below the reference in every objective dominate nothing of it. The space is cut into slices
    along the last objective, each with the hypervolume of one objective less: exact, and fast for the tens of points
    that a front has.
    """
    inside = [tuple(point) for point in losses if all(v < r for v, r in zip(point, reference, strict=True))]
    return _slice_by_slice([inside[index] for index in front(inside)], tuple(reference))


def _slice_by_slice(points: Sequence[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    if not points:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(point[0] for point in points)
    rising = sorted(set(points), key=lambda point: point[-1])
    if len(reference) == 2:
        return _under_the_stairs(rising, reference)
    ends = [point[-1] for point in rising[1:]] + [reference[-1]]
    volume = 0.0
    for count, (point, end) in enumerate(zip(rising, ends, strict=True), start=1):
        if end > point[-1]:
            section = [other[:-1] for other in rising[:count]]
            volume += (end - point[-1]) * _slice_by_slice([section[i] for i in front(section)], reference[:-1])
    return volume


def _under_the_stairs(rising: Sequence[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """Of a front in the plane, by rising second objective: the first one falls with every step."""
    ends = [second for _, second in rising[1:]] + [reference[1]]
    return sum((reference[0] - first) * (end - second) for (first, second), end in zip(rising, ends, strict=True))
