"""A trial written row by row is the trial that Optuna would have made."""

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
