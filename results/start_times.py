"""Starts of trials that are stored in local time, brought to UTC.

An Optuna study DB holds times in UTC. Early versions of senas stored the end of a trial in UTC and its start in the
local time of the driver, without saying which zone that was. Later versions store both in UTC and record from which
trial on (:data:`IN_UTC_FROM`).

The zone follows from what else the study holds: a trial starts after the search did, whose start is recorded in UTC;
in the order of its number; and before it ends. The time zones in which all trials of the study keep to that are
compared, and a start is known where they agree on it. UTC is given preference, so that a study is left as it is
wherever its starts can be in UTC.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

IN_UTC_FROM = "starts_in_utc_from"
"""The study attribute with the number of the first trial that is known to have its start in UTC."""

_TOLERANCE = timedelta(minutes=1)
"""How much the clocks of the machines that wrote and read the study may differ."""

_AT_ONCE = timedelta(minutes=5)
"""The first trial is expected to start within this time after the search."""

_QUARTER_HOURS = range(-48, 57)
"""The offsets from UTC that are in use, which are 12 hours behind to 14 hours ahead."""


class Stored(NamedTuple):
    """Times of one trial.

    Attributes:
        number: of the trial in its study.
        start: as it is stored, without an offset.
        end: in UTC, with an offset.
    """

    number: int
    start: datetime | None
    end: datetime | None


class _Bounds(NamedTuple):
    """A stored start, and the latest moment that it can stand for."""

    number: int
    start: datetime
    latest: datetime


def offsets(
    trials: Sequence[Stored], runs: Iterable[datetime], now: datetime, in_utc_from: int
) -> dict[int, timedelta | None]:
    """Return what to subtract from the stored starts of trials to have them in UTC.

    Args:
        trials: all trials of a study of senas's, by number.
        runs: when each run of its search started, in UTC.
        now: the time in UTC.
        in_utc_from: the number of the first trial whose start is known to be in UTC.

    Returns:
        The offset by the number of the trial. None stands for a start that is unknown. Trials whose start is stored
        in UTC are left out.
    """
    bounds = [bound for bound in _bounds(trials, now) if bound.number < in_utc_from]
    started = sorted(runs)
    if not bounds:
        return {}
    as_stored = _moments(bounds, UTC, started)
    if as_stored is not None and (_is_at_once(as_stored, started) or not started):
        return {}
    found = [moments for clock in _clocks(bounds) if (moments := _moments(bounds, clock, started)) is not None]
    at_once = [moments for moments in found if _is_at_once(moments, started)]
    if as_stored is not None and not at_once:
        return {}
    if not found:
        return dict.fromkeys(_impossible(bounds, started))
    agreed = [set[datetime]().union(*moments) for moments in zip(*(at_once or found), strict=True)]
    known = [
        bound.start.replace(tzinfo=UTC) - next(iter(moments)) if len(moments) == 1 else None
        for bound, moments in zip(bounds, agreed, strict=True)
    ]
    return {bound.number: offset for bound, offset in zip(bounds, known, strict=True) if offset != timedelta(0)}


def _bounds(trials: Sequence[Stored], now: datetime) -> list[_Bounds]:
    """The starts that are stored. A trial starts before itself and every later one ends."""
    found, latest = list[_Bounds](), now + _TOLERANCE
    for trial in reversed(trials):
        own = latest if trial.end is None else min(latest, trial.end)
        if trial.start is not None:
            found.append(_Bounds(trial.number, trial.start, own))
        if trial.end is not None:
            latest = min(latest, trial.end + _TOLERANCE)
    return found[::-1]


def _moments(bounds: Sequence[_Bounds], clock: tzinfo, runs: Sequence[datetime]) -> list[set[datetime]] | None:
    """What the stored starts stand for by a clock, which in the hour that it repeats can be two moments.

    Returns:
        None if some trial would start before the search or the trial before it, or after it ends.
    """
    found = []
    earliest = _earliest(runs)
    for bound in bounds:
        possible = {moment for moment in _in_utc(bound.start, clock) if earliest <= moment <= bound.latest}
        if not possible:
            return None
        found.append(possible)
        earliest = max(earliest, min(possible) - _TOLERANCE)
    return found


def _in_utc(local: datetime, clock: tzinfo) -> Iterator[datetime]:
    """The moments at which a clock shows a time: two in an hour that is repeated, none in one that is left out."""
    for fold in (0, 1):
        moment = local.replace(tzinfo=clock, fold=fold).astimezone(UTC)
        if moment.astimezone(clock).replace(tzinfo=None) == local:
            yield moment


def _earliest(runs: Sequence[datetime]) -> datetime:
    return runs[0] - _TOLERANCE if runs else datetime.min.replace(tzinfo=UTC)


def _is_at_once(moments: Sequence[set[datetime]], runs: Sequence[datetime]) -> bool:
    """Whether the first trial starts soon after a run of the search."""
    return any(-_TOLERANCE <= moment - run <= _AT_ONCE for moment in moments[0] for run in runs)


def _clocks(bounds: Sequence[_Bounds]) -> list[tzinfo]:
    """The clocks that differ in the days of the study; without a database of time zones, the fixed offsets."""
    days = {datetime.combine(bound.start, time()) for bound in bounds}
    half_days = sorted({day + timedelta(hours=12 * count) for day in days for count in range(-2, 5)})
    clocks: list[tzinfo] = [ZoneInfo(name) for name in sorted(available_timezones())]
    clocks = clocks or [timezone(timedelta(minutes=15 * count)) for count in _QUARTER_HOURS]
    distinct = {tuple(moment.replace(tzinfo=clock).utcoffset() for moment in half_days): clock for clock in clocks}
    return list(distinct.values())


def _impossible(bounds: Sequence[_Bounds], runs: Sequence[datetime]) -> Iterator[int]:
    """The trials that cannot have started at what is stored, if it is taken for UTC."""
    earliest = _earliest(runs)
    for bound in bounds:
        moment = bound.start.replace(tzinfo=UTC)
        if earliest <= moment <= bound.latest:
            earliest = max(earliest, moment - _TOLERANCE)
        else:
            yield bound.number


def ranges(found: Mapping[int, timedelta | None]) -> list[tuple[int, int, timedelta | None]]:
    """Offsets as (first, last, offset) for runs of consecutive numbers that have the same one."""
    joined: list[tuple[int, int, timedelta | None]] = []
    for number, offset in sorted(found.items()):
        if joined and joined[-1][1:] == (number - 1, offset):
            joined[-1] = (joined[-1][0], number, offset)
        else:
            joined.append((number, number, offset))
    return joined
