"""Samplers by what they select: stopped trials inform them and never pass for final."""

import random
from itertools import islice
from statistics import mean
from typing import get_args

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import TrialState, create_trial

from nas.config import SamplerName
from nas.proposer import Proposer
from nas.samplers import SAMPLERS, EvolutionSampler, ExhaustiveSampler, evolution
from nas.samplers.tournament import winner
from results.front import dominates
from results.hypervolume import hypervolume
from search_space import SearchSpace, SpaceSpec, cost, enumerate_architectures, resolve, trace
from search_space.errors import InputError
from search_space.several import SeveralBackbones

RESNET8 = trace(resolve("resnet8", num_classes=10, input_size=(1, 8, 8), options={"width": 4}))
CNN3 = trace(resolve("cnn3", num_classes=10, input_size=(1, 8, 8), options={"width": 4}))
RESNET20 = trace(resolve("resnet20", num_classes=10, input_size=(3, 8, 8)))
PER_LAYER = {"choices": [True, False], "per": "layer"}
DIRECTIONS = ("maximize", "minimize")


def space_of(traced, **dimensions):
    fixed = {"variant": "standard", "position": "standard", "ratio": 2}
    return SearchSpace(traced, SpaceSpec.model_validate(fixed | dimensions))


SPACES = {
    "conditional": space_of(RESNET8, variant=["standard", "simam"], ratio=[2, 4]),
    "fixed": space_of(RESNET8, insertion=True, ratio=[1, 2, 4]),
    "constrained": space_of(RESNET8, insertion=PER_LAYER, ratio=[2, 4], constraints={"params_overhead": {"max": 0.05}}),
}
SPACES["several"] = SeveralBackbones(
    {"resnet8": SPACES["conditional"], "cnn3": space_of(CNN3, insertion=PER_LAYER, ratio=[2, 4])}
)
NINE_SITES = space_of(
    RESNET20,
    insertion=PER_LAYER,
    position={"choices": ["standard", "pre", "post", "identity"], "per": "layer"},
    ratio={"choices": [2, 4, 8], "per": "layer"},
)


def studied(sampler):
    return optuna.create_study(sampler=sampler, directions=list(DIRECTIONS))


def encoded(space, architecture, values, **constraints):
    """A trial of an architecture that ended with values."""
    parameters = space.encode(architecture)
    return create_trial(
        state=TrialState.COMPLETE,
        params=parameters,
        distributions={name: CategoricalDistribution(space.parameters[name]) for name in parameters},
        values=values,
        constraints=constraints,
    )


def test_the_names_in_a_config_are_those_of_the_registry():
    assert set(get_args(SamplerName)) == set(SAMPLERS)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("objectives", [1, 2])
def test_every_sampler_proposes_of_every_kind_of_space(name, space, objectives):
    proposer = Proposer(SPACES[space], SAMPLERS[name](SPACES[space], 3), directions=DIRECTIONS[:objectives], seed=3)
    for number in range(12):
        proposal = proposer.propose()
        if proposal is None:
            assert proposer.exhausted
            return
        assert proposal.architecture in SPACES[space]
        assert SPACES[space].decode(proposal.parameters) == proposal.architecture
        values = (len(proposal.architecture.sites), number)[:objectives]
        if number % 2:
            proposer.complete(proposal.architecture, values)
        else:
            proposer.stop(proposal.architecture, values, shortfall=1 / (1 + number))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_exhaustive_goes_through_the_architectures_in_order_and_then_again(space):
    study = studied(ExhaustiveSampler(space))
    everything = list(enumerate_architectures(space))
    asked = [space.suggest(study.ask()) for _ in range(len(everything) + 3)]
    assert asked == everything + everything[:3]


def test_exhaustive_is_not_for_large_spaces():
    with pytest.raises(InputError, match=rf"at most 1,000,000 .* has {NINE_SITES.size:,}: .* tpe"):
        SAMPLERS["exhaustive"](NINE_SITES, 0)


TRIALS = st.builds(
    lambda values, violations: create_trial(
        state=TrialState.COMPLETE,
        values=values,
        constraints={str(number): violation for number, violation in enumerate(violations)},
    ),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0]), max_size=2),
)


def beats(a, b):
    """Constrained domination, by the book; the first objective is maximised."""
    broken = [sum(max(0, value) for value in trial.constraints.values()) for trial in (a, b)]
    losses = [(-trial.values[0], trial.values[1]) for trial in (a, b)]
    return broken[0] < broken[1] or (broken == [0, 0] and dominates(*losses))


@given(st.lists(TRIALS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_nobody_beats_the_winner_of_a_tournament(contenders, rng):
    directions = studied(None).directions
    best = winner(contenders, directions, rng)
    assert not any(beats(other, best) for other in contenders)


@pytest.fixture
def births(monkeypatch):
    """Parents and children of evolution, as they come."""
    pairs = []
    mutate = evolution.mutate

    def watched(space, parent, rng):
        pairs.append((parent, mutate(space, parent, rng)))
        return pairs[-1][1]

    monkeypatch.setattr(evolution, "mutate", watched)
    return pairs


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_children_are_one_mutation_of_one_of_the_latest_trials(space, births):
    study = studied(EvolutionSampler(space, seed=1, population=5, tournament=2))
    rng, born = random.Random(0), []
    for _ in range(40):
        trial = study.ask()
        born.append(space.suggest(trial))
        study.tell(trial, [rng.random(), rng.random()])
        assert born[-1] in space
    assert len(births) == 35
    for age, (parent, child) in enumerate(births):
        assert parent in born[age : age + 5]
        assert child == born[age + 5] != parent
        if space is SPACES["fixed"]:
            before, after = space.encode(parent), space.encode(child)
            assert sum(before[name] != after[name] for name in before) == 1


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_trials_die_of_age_however_good_they_were(seed):
    space = SPACES["fixed"]
    study = studied(EvolutionSampler(space, seed=seed, population=6, tournament=6))
    good, *bad = islice(enumerate_architectures(space), 7)
    study.add_trial(encoded(space, good, (1.0, 0.0)))
    with pytest.MonkeyPatch.context() as patched:
        parents = []
        patched.setattr(evolution, "mutate", lambda space, parent, rng: parents.append(parent) or parent)
        for architecture in bad[:5]:
            study.add_trial(encoded(space, architecture, (0.5, 1.0)))
        space.suggest(study.ask())
        study.add_trial(encoded(space, bad[5], (0.5, 1.0)))
        space.suggest(study.ask())
    assert parents[0] == good
    assert parents[1] in bad


COMPLETE, STOPPED = 30, 40


def planted(name, how):
    """A search whose stopped trials all look better than its complete ones, and the better the earlier they stopped."""
    space = NINE_SITES
    proposer = Proposer(space, SAMPLERS[name](space, 0), directions=DIRECTIONS, seed=0)
    rng, sampled = random.Random(5), {}
    while len(sampled) < COMPLETE + STOPPED:
        architecture = space.sample(rng)
        sampled[architecture.id] = architecture
    architectures = list(sampled.values())
    order = rng.sample(range(len(architectures)), len(architectures))
    for number in order:
        architecture = architectures[number]
        shortfall = (number - COMPLETE + 1) / STOPPED
        values = (0.1, 100.0 + number) if shortfall <= 0 else (0.5 + shortfall, 50.0 - number / 10)
        parameters = space.encode(architecture)
        if how == "told":
            proposer.start(architecture)
            if shortfall <= 0:
                proposer.complete(architecture, values)
            else:
                proposer.stop(architecture, values, shortfall)
            continue
        trial = create_trial(
            state=TrialState.COMPLETE if shortfall <= 0 else TrialState.PRUNED,
            params=parameters,
            distributions={name: CategoricalDistribution(space.parameters[name]) for name in parameters},
            values=values if shortfall <= 0 else None,
        )
        proposer.remember(architecture, trial, shortfall=max(shortfall, 0.01), reached=values)
    return proposer, proposer._memory._study


def shortfall_of(trial):
    return max(0.0, trial.constraints["stopped_early"])


@pytest.mark.parametrize("how", ["told", "remembered"])
@pytest.mark.parametrize("wanted", [1, 10, COMPLETE, COMPLETE + 1, COMPLETE + 17])
def test_tpe_takes_complete_trials_for_good_and_of_stopped_ones_those_that_got_farthest(how, wanted):
    _, study = planted("tpe", how)
    trials = study.get_trials()
    below, above = _split_trials(study, trials, wanted)
    assert sorted(map(shortfall_of, below)) == sorted(map(shortfall_of, trials))[:wanted]
    assert len(below) + len(above) == len(trials) == COMPLETE + STOPPED


@pytest.mark.parametrize("how", ["told", "remembered"])
@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_of_a_generation_complete_trials_survive_and_of_stopped_ones_those_that_got_farthest(name, how):
    proposer, study = planted(name, how)
    survivors = study.sampler.select_parent(study, 1)
    assert len(survivors) == 50
    if how == "remembered":
        assert sorted(map(shortfall_of, survivors)) == sorted(map(shortfall_of, study.get_trials()))[:50]
    else:  # what came after the fiftieth is of the next generation already
        first = [trial for trial in study.get_trials() if trial.number < 50]
        assert sorted(map(shortfall_of, survivors)) == sorted(map(shortfall_of, first))
        second = study.sampler.select_parent(study, 2)
        assert sorted(map(shortfall_of, second)) == sorted(map(shortfall_of, study.get_trials()))[:50]
    assert proposer.propose() is not None


@pytest.mark.parametrize("how", ["told", "remembered"])
def test_evolution_has_complete_parents_and_otherwise_those_that_got_farthest(how, monkeypatch):
    proposer, _ = planted("evolution", how)
    contests = []

    def watched(contenders, directions, rng):
        contests.append((contenders, winner(contenders, directions, rng)))
        return contests[-1][1]

    monkeypatch.setattr(evolution, "winner", watched)
    for _ in range(30):
        assert proposer.propose() is not None
    assert len(contests) >= 30
    for contenders, parent in contests:
        assert shortfall_of(parent) == min(map(shortfall_of, contenders))


def test_the_models_of_gp_take_stopped_trials_and_complete_ones_together():
    """Of every trial it wants the same constraints, and it is not to stumble over what was never measured."""
    space = SPACES["constrained"]
    proposer = Proposer(space, SAMPLERS["gp"](space, 0), directions=DIRECTIONS, seed=0)
    for number in range(13):
        proposal = proposer.propose()
        if number % 3:
            proposer.complete(proposal.architecture, (0.5, number))
        else:
            proposer.stop(proposal.architecture, (0.7, number), shortfall=0.5)


def reached_within(name, trials, seed):
    """The hypervolume that a sampler reaches where blocks are worth what their site, position and ratio make them."""
    space, proposals = NINE_SITES, []
    proposer = Proposer(space, SAMPLERS[name](space, seed), directions=DIRECTIONS, seed=seed)
    low, high = space.cost_range.flops

    def worth(site, se):
        share = random.Random(f"{site}").random() * (0.5 + random.Random(f"{site} {se.position}").random())
        return share - 0.1 * abs(se.hidden[0].bit_length() - random.Random(f"width {site}").randint(2, 5))

    for _ in range(trials):
        architecture = proposer.propose().architecture
        value = sum(worth(site, se) for site, se in architecture.se.items())
        flops = cost(RESNET20, architecture).flops
        proposer.complete(architecture, (value, float(flops)))
        proposals.append((-value, (flops - low) / (high - low)))
    return hypervolume(proposals, (1.0, 1.0))


@pytest.mark.slow
def test_learning_pays():
    seeds = range(3)
    reached = {
        name: mean(reached_within(name, 150, seed) for seed in seeds)
        for name in ("random", "tpe", "nsga2", "nsga3", "evolution")
    }
    assert min(reached, key=reached.__getitem__) == "random", reached
