"""A trial written row by row is the trial that Optuna would have made."""

import time
from datetime import UTC, datetime, timedelta, timezone

import optuna
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from nas.storage import open_storage, writing_engine
from nas.trial_rows import create_by_rows

DISTRIBUTIONS = {
    "insertion": CategoricalDistribution([True, False]),
    "position": CategoricalDistribution(["pre", "post", None]),
    "ratio": IntDistribution(2, 32),
    "rate": FloatDistribution(0.0, 1.0),
}
VALUES = {
    "insertion": st.booleans(),
    "position": st.sampled_from(["pre", "post", None]),
    "ratio": st.integers(2, 32),
    "rate": st.floats(0.0, 1.0),
}
attributes = st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda t: "\x00" not in t), st.integers() | st.lists(st.floats(0, 1)))  # fmt: skip # noqa: E501
parameters = st.lists(st.sampled_from(sorted(VALUES)), unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)


# Rules of POSIX, which need no database of time zones: Tokyo, Los Angeles, and Sydney in the southern summer.
ZONES = ["UTC0", "JST-9", "PST8PDT,M3.2.0,M11.1.0", "AEST-10AEDT,M10.1.0,M4.1.0/3", "IST-5:30"]
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@pytest.fixture
def in_zone(monkeypatch):
    """Sets the time zone of this process."""

    def set_zone(zone):
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rows.db'}"
    return request.getfixturevalue("postgresql").new_database()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(parameters, attributes), min_size=1, max_size=4))
def test_the_rows_are_those_that_optuna_writes(url, trials):
    storage, engine = open_storage(url), writing_engine(url)
    ours, theirs = (optuna.create_study(storage=storage, directions=["maximize", "minimize"]) for _ in range(2))
    for number, (chosen, said) in enumerate(trials):
        template = create_trial(
            state=TrialState.RUNNING,
            params=chosen,
            distributions={name: DISTRIBUTIONS[name] for name in chosen},
            user_attrs=said,
        )
        trial_id, given_number = create_by_rows(engine)(ours._study_id, template)
        assert given_number == number
        assert storage.get_trial(trial_id).number == number
        storage.create_new_trial(theirs._study_id, template)
    assert rows(engine, ours._study_id) == rows(engine, theirs._study_id)
    for made, reference in zip(ours.trials, theirs.trials, strict=True):
        assert (made.params, made.user_attrs, made.state) == (reference.params, reference.user_attrs, reference.state)
    engine.dispose()


def local(moment):
    """A moment as ``datetime.now()`` gives it then: without an offset, in the repeated hour with ``fold=1``."""
    return datetime.fromtimestamp(moment.timestamp())


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moment=moments
    | st.sampled_from([datetime(2026, 11, 1, 8, 30, tzinfo=UTC), datetime(2026, 11, 1, 9, 30, tzinfo=UTC)]),
    minutes=st.sampled_from([None, -90, 0, 345]),
)
def test_a_start_is_stored_in_utc_whatever_the_time_zone(in_zone, tmp_path, zone, moment, minutes):
    in_zone(zone)
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    storage, engine = open_storage(url), writing_engine(url)
    template = create_trial(state=TrialState.RUNNING)
    template.datetime_start = (
        local(moment) if minutes is None else moment.astimezone(timezone(timedelta(minutes=minutes)))
    )
    ours, theirs = (optuna.create_study(storage=storage) for _ in range(2))
    create_by_rows(engine)(ours._study_id, template)
    storage.create_new_trial(theirs._study_id, template)
    ((_, _, stored, _),) = rows(engine, ours._study_id)[0]
    assert datetime.fromisoformat(stored) == moment.replace(tzinfo=None)
    assert rows(engine, ours._study_id) == rows(engine, theirs._study_id)
    engine.dispose()


def rows(engine, study_id):
    """All that the DB holds of a study's trials, but for their ids and the study's."""
    of_trials = "SELECT number, state, datetime_start, datetime_complete FROM trials WHERE study_id = :study"
    joined = "FROM {0} JOIN trials ON trials.trial_id = {0}.trial_id WHERE study_id = :study"
    queries = [
        of_trials,
        f"SELECT number, param_name, param_value, distribution_json {joined.format('trial_params')}",
        f"SELECT number, key, value_json {joined.format('trial_user_attributes')}",
        f"SELECT number, key, value_json {joined.format('trial_system_attributes')}",
        f"SELECT number, objective, value {joined.format('trial_values')}",
    ]
    with engine.connect() as connection:
        return [sorted(map(tuple, connection.execute(sa.text(q), {"study": study_id})), key=repr) for q in queries]
