"""Starts that were stored in local time, as early versions of senas did, are read in UTC or not at all."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import optuna
import pytest
import sqlalchemy as sa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import results
from nas.storage import open_storage
from results import start_times
from results.start_times import Stored, offsets

ZONES = [
    "Asia/Tokyo",
    "America/Los_Angeles",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Kiritimati",
    "Etc/GMT+3",
]
BEGAN = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOW = datetime(2027, 6, 1, tzinfo=UTC)


class Past(NamedTuple):
    """When the runs of a search started, and when each trial really started and ended, in UTC."""

    runs: list[datetime]
    trials: list[tuple[datetime, datetime | None]]


def stored(past: Past, zone: str) -> list[Stored]:
    """What an early version left, the driver being in a time zone."""
    clock = ZoneInfo(zone)
    return [Stored(n, start.astimezone(clock).replace(tzinfo=None), end) for n, (start, end) in enumerate(past.trials)]


def read(past: Past, rows: Sequence[Stored], in_utc_from: int | None = None) -> list[datetime | None]:
    found = offsets(rows, past.runs, NOW, len(rows) if in_utc_from is None else in_utc_from)
    starts = []
    for row in rows:
        offset = found.get(row.number, timedelta(0))
        starts.append(None if offset is None else row.start.replace(tzinfo=UTC) - offset)
    return starts


@st.composite
def pasts(draw: st.DrawFn, longest_s: int) -> Past:
    """A search with two trials at a time, which are as long as that at most, and with pauses between its runs."""
    now = draw(st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)))
    runs, trials = [], []
    for _ in range(draw(st.integers(1, 3))):
        runs.append(now.replace(microsecond=0))
        now += timedelta(seconds=draw(st.integers(1, 200)))
        free = [now, now]
        for seconds in draw(st.lists(st.integers(1, longest_s), min_size=1, max_size=5)):
            place = free.index(min(free))
            start = max([free[place], *(began for began, _ in trials)])
            free[place] = start + timedelta(seconds=seconds)
            trials.append((start, free[place]))
            free[place] += timedelta(milliseconds=5)
        now = max(free) + timedelta(seconds=draw(st.integers(1, 100_000)))
    return Past(runs, trials)


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=25)
@given(past=pasts(longest_s=40_000))
def test_a_start_is_read_as_it_was_or_as_unknown(zone: str, past: Past) -> None:
    for found, (started, _) in zip(read(past, stored(past, zone)), past.trials, strict=True):
        assert found in (started, None)


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=25)
@given(past=pasts(longest_s=600))
def test_the_starts_of_short_trials_are_known(zone: str, past: Past) -> None:
    clock = ZoneInfo(zone)
    shifts = {
        (start + timedelta(days=day)).astimezone(clock).utcoffset() for start, _ in past.trials for day in (-1, 1)
    }
    assume(len(shifts) == 1)  # in the hour that is repeated two moments may be possible
    assert read(past, stored(past, zone)) == [start for start, _ in past.trials]


@settings(max_examples=25)
@given(past=pasts(longest_s=40_000))
def test_starts_that_are_in_utc_are_left_as_they_are(past: Past) -> None:
    assert offsets(stored(past, "UTC"), past.runs, NOW, len(past.trials)) == {}


def every(seconds: int, of: int, began: datetime = BEGAN) -> Past:
    """A search of one trial after another."""
    starts = [began + timedelta(seconds=5 + seconds * number) for number in range(of)]
    return Past([began], [(start, start + timedelta(seconds=seconds - 1)) for start in starts])


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("America/Los_Angeles", datetime(2026, 3, 8, 10, tzinfo=UTC)),
        ("America/Los_Angeles", datetime(2026, 11, 1, 9, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ],
)
def test_a_change_of_the_clocks_in_the_middle_of_a_search(zone: str, change: datetime) -> None:
    past = every(600, of=60, began=change - timedelta(hours=5))
    assert read(past, stored(past, zone)) == [start for start, _ in past.trials]


def test_a_search_in_utc_that_waited_for_its_first_trial_is_left_as_it_is() -> None:
    past = every(3 * 3600, of=4)
    late = Past([BEGAN - timedelta(hours=2, minutes=20)], past.trials)
    assert offsets(stored(late, "UTC"), late.runs, NOW, 4) == {}


def test_a_start_in_the_future_is_none() -> None:
    past = Past([], [(NOW - timedelta(hours=1), None)])
    assert read(past, stored(past, "Asia/Tokyo")) == [None]


def test_drivers_in_two_time_zones_leave_the_starts_that_are_possible() -> None:
    first, second = every(600, of=3), every(600, of=3, began=BEGAN + timedelta(hours=1))
    past = Past([*first.runs, *second.runs], [*first.trials, *second.trials])
    rows = [*stored(past, "UTC")[:3], *stored(past, "Asia/Tokyo")[3:]]
    assert read(past, rows) == [start for start, _ in first.trials] + [None] * 3


def test_trials_of_a_later_version_are_in_utc_whatever_came_before() -> None:
    past = every(600, of=6)
    rows = [*stored(past, "Asia/Tokyo")[:3], *stored(past, "UTC")[3:]]
    assert read(past, rows, in_utc_from=3) == [start for start, _ in past.trials]


def test_without_a_database_of_time_zones_offsets_are_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_times, "available_timezones", set)
    past = every(600, of=3)
    assert read(past, stored(past, "Asia/Kathmandu")) == [start for start, _ in past.trials]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, url: str) -> str:
    return url if request.param == "sqlite" else request.getfixturevalue("postgresql").new_database()


def write(url: str, past: Past, zone: str, attributes: dict[str, object]) -> None:
    """Makes a study of trials that have ended, with the rows that an early version left."""
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name="a study", directions=["maximize"])
    study.set_metric_names(["accuracy"])
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    update = sa.text("UPDATE trials SET datetime_start = :start, datetime_complete = :end WHERE number = :number")
    times = [sa.bindparam("start", type_=sa.DateTime()), sa.bindparam("end", type_=sa.DateTime())]
    for row in stored(past, zone):
        study.tell(study.ask(), 0.5)
        with storage._backend.engine.begin() as connection:  # type: ignore[attr-defined]
            end = row.end and row.end.replace(tzinfo=None)
            connection.execute(update.bindparams(*times), {"start": row.start, "end": end, "number": row.number})


def said_by_senas(past: Past) -> dict[str, object]:
    return {"config": {"trials": 3}, "epochs": 1, "runs": [{"started": run.isoformat()} for run in past.runs]}


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "Australia/Lord_Howe"])
def test_every_reader_shows_the_start_in_utc(new_url: str, zone: str) -> None:
    past = every(600, of=3)
    write(new_url, past, zone, said_by_senas(past))
    study = results.open_study(new_url, "a study")
    second = past.trials[1][0]
    assert [trial.started for trial in study.records] == [start for start, _ in past.trials]
    assert [trial.duration_s for trial in study.records] == [599.0] * 3
    assert [trial.ended for trial in study.records] == [end for _, end in past.trials]
    assert study.records[1].to_json()["started"] == second.isoformat()
    assert [trial.number for trial in study.trials(f"started == '{second.isoformat()}'")] == [1]
    assert [trial.number for trial in study.trials(f"started > '{second.isoformat()}'", sort="-started")] == [2]
    assert study.count("duration_s > 598 and duration_s < 600") == 3
    assert list(study.frame(limit=2)["started"]) == [start for start, _ in past.trials[:2]]
    (summary,) = results.studies(new_url)
    assert (summary.started, summary.last_change) == (past.trials[0][0], past.trials[-1][1])


def test_a_start_that_is_unknown_is_missing_for_every_reader(new_url: str) -> None:
    past = every(600, of=3)
    said = said_by_senas(past) | {"runs": []}
    write(new_url, past, "Asia/Tokyo", said)
    study = results.open_study(new_url, "a study")
    assert [(trial.started, trial.duration_s) for trial in study.records] == [(None, None)] * 3
    assert study.count("started is None and duration_s is None") == 3
    (summary,) = results.studies(new_url)
    assert (summary.started, summary.last_change) == (None, past.trials[-1][1])


@pytest.mark.parametrize("attributes", [{}, {"config": {}, "runs": [], "starts_in_utc_from": 0}])
def test_studies_of_other_programs_and_later_versions_are_shown_as_they_are(url: str, attributes) -> None:
    past = every(600, of=3)
    write(url, past, "Asia/Tokyo", attributes)
    nine = timedelta(hours=9)
    assert [t.started for t in results.open_study(url, "a study").records] == [start + nine for start, _ in past.trials]
