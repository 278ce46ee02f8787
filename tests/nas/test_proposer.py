"""Proposals: each network once, the same again for the same seed, every sampler, until the space is empty."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from nas.proposer import Proposer
from nas.samplers import SAMPLERS
from search_space import (
    Architecture,
    SearchSpace,
    SpaceSpec,
    baselines,
    cost,
    enumerate_architectures,
    resolve,
    trace,
)

TRACED = trace(resolve("resnet8", num_classes=10, input_size=(1, 8, 8), options={"width": 4}))
SMALL = SpaceSpec(variant="standard", position=["standard"], ratio=[2, 4], insertion=[True, False])
TINY = SpaceSpec(variant="standard", position=["standard"], ratio=[2], insertion=[True, False])
LARGE = SpaceSpec()
DIRECTIONS = ("maximize", "minimize")


def proposer(spec, sampler="random", seed=0, directions=DIRECTIONS):
    space = SearchSpace(TRACED, spec)
    return Proposer(space, SAMPLERS[sampler](space, seed), directions=directions, seed=seed)


def small(sampler):
    """A small space; for a sampler that takes its time, a smaller one."""
    return TINY if sampler == "gp" else SMALL


def values_of(architecture):
    return (len(architecture.sites) / 10, float(cost(TRACED, architecture).flops))


def finish(asked, architecture, number, objectives=2):
    """Ends a trial in one of the three ways, by its number."""
    values = values_of(architecture)[:objectives]
    if number % 3 == 0:
        asked.stop(architecture, values, shortfall=1 / (1 + number))
    elif number % 7 == 0:
        asked.fail(architecture)
    else:
        asked.complete(architecture, values)


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_network_of_a_small_space_is_proposed_once_and_then_no_more(sampler, objectives):
    asked = proposer(small(sampler), sampler, directions=DIRECTIONS[:objectives])
    seen = []
    while (proposal := asked.propose()) is not None:
        seen.append(proposal.architecture.id)
        finish(asked, proposal.architecture, len(seen), objectives)
    assert len(set(seen)) == len(seen) == SearchSpace(TRACED, small(sampler)).size


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_parallel_proposals_differ(sampler):
    asked = proposer(LARGE, sampler)
    waiting = [asked.propose().architecture.id for _ in range(32)]
    assert len(set(waiting)) == 32


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_parameters_make_the_architecture_they_came_with(sampler):
    asked = proposer(LARGE, sampler)
    space = SearchSpace(TRACED, LARGE)
    for number in range(16 if sampler == "gp" else 25):
        proposal = asked.propose()
        assert space.decode(proposal.parameters) == proposal.architecture
        assert proposal.parameters.keys() == proposal.distributions.keys()
        finish(asked, proposal.architecture, number)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_fixes_the_proposals(sampler):
    ids = []
    for seed in (1, 1, 2):
        asked = proposer(LARGE, sampler, seed)
        ids.append([])
        for number in range(13):
            architecture = asked.propose().architecture
            finish(asked, architecture, number)
            ids[-1].append(architecture.id)
    assert ids[0] == ids[1]
    assert (ids[0] == ids[2]) == (sampler == "exhaustive")


@pytest.mark.parametrize("sampler", ["random", "exhaustive"])
@settings(max_examples=15)
@given(broken_after=st.integers(0, 40), bounded=st.booleans())
def test_a_broken_search_that_learns_nothing_goes_on_with_what_an_unbroken_one_would_propose(
    sampler, broken_after, bounded
):
    """Bounds that few networks meet make most proposals fruitless, so that many are drawn instead."""
    spec = within(LARGE, 0.0, 0.2) if bounded else LARGE
    unbroken = proposer(spec, sampler)
    whole = [unbroken.propose() for _ in range(50)]
    resumed = proposer(spec, sampler)
    for proposal in whole[:broken_after]:
        resumed.remember(proposal.architecture, recorded(proposal))
    rest = [resumed.propose().architecture.id for _ in range(50 - broken_after)]
    assert rest == [proposal.architecture.id for proposal in whole[broken_after:]]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_goes_on_repeats_nothing_and_finds_the_rest(sampler):
    """Trials of every state, those that were running among them."""
    first = proposer(small(sampler), sampler)
    whole = [first.propose() for _ in range(4 if sampler == "gp" else 12)]
    resumed = proposer(small(sampler), sampler)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL]
    for number, proposal in enumerate(whole):
        resumed.remember(proposal.architecture, recorded(proposal, states[number % 4]), shortfall=0.5, reached=(0.1, 2))
    for proposal in whole[2::4]:
        resumed.complete(proposal.architecture, (0.5, 1.0))
    found = []
    while (proposal := resumed.propose()) is not None:
        found.append(proposal.architecture.id)
    assert len(found) == len(set(found)) == SearchSpace(TRACED, small(sampler)).size - len(whole)
    assert not set(found) & {proposal.architecture.id for proposal in whole}


def test_baselines_are_proposed_with_parameters_where_the_space_has_them():
    spec = SpaceSpec(variant="standard", position=["standard"], ratio=[16], insertion=[True, False])
    asked, everywhere = proposer(spec), baselines(TRACED)
    inside = asked.start(everywhere["standard everywhere"])
    outside = asked.start(everywhere["post everywhere"])
    assert SearchSpace(TRACED, spec).decode(inside.parameters) == inside.architecture
    assert outside.parameters == {}
    for proposal in (inside, outside):
        asked.complete(proposal.architecture, (0.5, 1.0))
    ids = {asked.propose().architecture.id for _ in range(3)}
    assert not ids & {inside.architecture.id, outside.architecture.id}


def test_baselines_outside_the_space_leave_it_whole():
    spec = SpaceSpec(variant="standard", position=["standard"], ratio=[1], insertion=[True, False])
    asked = proposer(spec)
    for architecture in baselines(TRACED).values():
        asked.start(architecture)
    found = []
    while (proposal := asked.propose()) is not None:
        found.append(proposal.architecture)
    assert asked.exhausted
    assert len(found) == 2**3 - 1  # all but the network without SE, which is a baseline


def recorded(proposal, state=TrialState.COMPLETE):
    return create_trial(
        state=state,
        params=dict(proposal.parameters),
        distributions=dict(proposal.distributions),
        values=list(values_of(proposal.architecture)) if state == TrialState.COMPLETE else None,
    )


def within(spec, low, high):
    """A specification whose FLOPs are bounded to a part of those of all its architectures in order."""
    free = SearchSpace(TRACED, spec)
    costs = sorted(cost(TRACED, architecture).flops for architecture in enumerate_architectures(free))
    bounds = {"flops": {"min": costs[round(low * (len(costs) - 1))], "max": costs[round(high * (len(costs) - 1))]}}
    return SpaceSpec.model_validate({**spec.model_dump(), "constraints": bounds})


def test_no_se_is_one_architecture():
    assert Architecture(TRACED.backbone).id == baselines(TRACED)["no SE"].id


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_of_a_constrained_space_all_that_meets_the_constraints_is_proposed_and_nothing_else(sampler):
    spec = within(small(sampler), 0.1, 0.85)
    feasible = {a.id for a in enumerate_architectures(SearchSpace(TRACED, spec))}
    assert 0 < len(feasible) < SearchSpace(TRACED, small(sampler)).size
    asked = proposer(spec, sampler)
    seen = []
    while (proposal := asked.propose()) is not None:
        seen.append(proposal.architecture.id)
        finish(asked, proposal.architecture, len(seen))
    assert sorted(seen) == sorted(feasible)
    assert asked.exhausted


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_of_which_hardly_anything_meets_the_constraints_does_not_hold_the_search_up(sampler):
    spec = within(LARGE, 0.001, 0.002)
    space = SearchSpace(TRACED, spec)
    assert sum(1 for _ in enumerate_architectures(space)) < space.size / 300
    asked = proposer(spec, sampler)
    for _ in range(6):
        proposal = asked.propose()
        assert proposal.architecture in space
        asked.complete(proposal.architecture, values_of(proposal.architecture))


@pytest.mark.parametrize("how", ["told", "remembered"])
def test_what_ended_is_remembered_with_every_constraint_and_what_was_stopped_breaks_one(how):
    asked, again = proposer(LARGE), proposer(LARGE)
    proposals = [asked.propose() for _ in range(4)]
    complete, stopped, diverged, failed = (proposal.architecture for proposal in proposals)
    asked.complete(complete, (0.5, 1.0))
    asked.stop(stopped, (0.75, 2.0), shortfall=0.25)
    asked.stop(diverged, (math.nan, 2.0), shortfall=0.75)
    asked.fail(failed)
    if how == "remembered":
        states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL]
        reached = [None, (0.75, 2.0), None, None]
        for proposal, state, values, shortfall in zip(proposals, states, reached, [1, 0.25, 0.75, 1], strict=True):
            again.remember(proposal.architecture, recorded(proposal, state), shortfall=shortfall, reached=values)
        asked = again
    ended = asked._memory._study.get_trials()
    trials = [trial for trial in ended if trial.state != TrialState.FAIL]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert [trial.values for trial in trials[1:3]] == [[0.75, 2.0], None]
    assert [trial.constraints for trial in trials] == [{"stopped_early": v} for v in (-1.0, 0.25, 0.75)]


@pytest.mark.parametrize("shortfall", [0.0, -0.1, 1.5, math.nan])
def test_a_stopped_trial_lacked_some_of_its_budget(shortfall):
    asked = proposer(LARGE)
    proposal = asked.propose()
    with pytest.raises(ValueError, match="lacked a share"):
        asked.stop(proposal.architecture, (0.5, 1.0), shortfall)
    with pytest.raises(ValueError, match="lacked a share"):
        asked.remember(proposal.architecture, recorded(proposal, TrialState.PRUNED), shortfall=shortfall)


def test_a_repetition_is_answered_with_what_is_known():
    """The last network is found only after others have been proposed again."""
    asked = proposer(SMALL)
    endings = {}
    while (proposal := asked.propose()) is not None:
        number = len(endings) + 1
        endings[tuple(proposal.parameters.items())] = number
        finish(asked, proposal.architecture, number)
    trials = asked._memory._study.get_trials()
    assert len(trials) > len(endings)
    for trial in trials:
        number = endings.get(tuple(trial.params.items()))
        if number is None:  # another encoding of the same network
            continue
        if number % 3 and number % 7 == 0:
            assert trial.state == TrialState.FAIL
        else:
            shortfall = -1.0 if number % 3 else 1 / (1 + number)
            assert (trial.state, trial.constraints) == (TrialState.COMPLETE, {"stopped_early": shortfall})


def test_what_breaks_the_constraints_is_never_measured_and_comes_behind_all_that_was_stopped():
    asked = proposer(within(LARGE, 0.4, 0.6))
    for number in range(20):
        proposal = asked.propose()
        asked.stop(proposal.architecture, values_of(proposal.architecture), shortfall=1 / (1 + number))
    trials = asked._memory._study.get_trials()
    refused = [trial for trial in trials if trial.state == TrialState.PRUNED]
    stopped = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(refused) > 10
    assert len(stopped) >= 20
    assert len({tuple(trial.constraints) for trial in trials}) == 1
    for trial in refused:
        assert trial.values is None
        assert 1 < max(trial.constraints.values()) < 2
        assert trial.constraints["stopped_early"] == -1
    for trial in stopped:
        assert max(trial.constraints.values()) == trial.constraints["stopped_early"] <= 1
