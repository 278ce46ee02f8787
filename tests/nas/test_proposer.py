"""Proposals: each network once, the same again for the same seed, every sampler, until the space is empty."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from nas.proposer import SAMPLERS, Proposer
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
LARGE = SpaceSpec()


def proposer(spec, sampler="random", seed=0):
    return Proposer(SearchSpace(TRACED, spec), SAMPLERS[sampler](seed), seed=seed)


def finish(asked, architecture, number):
    """Ends a trial in one of the three ways, by its number."""
    if number % 3 == 0:
        asked.tell(architecture, TrialState.PRUNED)
    elif number % 7 == 0:
        asked.tell(architecture, TrialState.FAIL)
    else:
        flops = cost(TRACED, architecture).flops
        asked.tell(architecture, TrialState.COMPLETE, (len(architecture.sites) / 10, float(flops)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_network_of_a_small_space_is_proposed_once_and_then_no_more(sampler):
    asked = proposer(SMALL, sampler)
    seen = []
    while (proposal := asked.propose()) is not None:
        seen.append(proposal.architecture.id)
        finish(asked, proposal.architecture, len(seen))
    assert len(set(seen)) == len(seen) == SearchSpace(TRACED, SMALL).size


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_parallel_proposals_differ(sampler):
    asked = proposer(LARGE, sampler)
    waiting = [asked.propose().architecture.id for _ in range(32)]
    assert len(set(waiting)) == 32


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_parameters_make_the_architecture_they_came_with(sampler):
    asked = proposer(LARGE, sampler)
    space = SearchSpace(TRACED, LARGE)
    for number in range(25):
        proposal = asked.propose()
        assert space.decode(proposal.parameters) == proposal.architecture
        assert proposal.parameters.keys() == proposal.distributions.keys()
        finish(asked, proposal.architecture, number)


def test_a_seed_fixes_the_proposals():
    first, again, other = (proposer(LARGE, seed=seed) for seed in (1, 1, 2))
    ids = [[asked.propose().architecture.id for _ in range(10)] for asked in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]


@settings(max_examples=20)
@given(st.integers(0, 30))
def test_a_broken_random_search_goes_on_with_what_an_unbroken_one_would_propose(broken_after):
    unbroken = proposer(LARGE)
    whole = [unbroken.propose() for _ in range(40)]
    resumed = proposer(LARGE)
    for proposal in whole[:broken_after]:
        resumed.remember(proposal.architecture, recorded(proposal))
    rest = [resumed.propose().architecture.id for _ in range(40 - broken_after)]
    assert rest == [proposal.architecture.id for proposal in whole[broken_after:]]


def test_baselines_are_proposed_with_parameters_where_the_space_has_them():
    spec = SpaceSpec(variant="standard", position=["standard"], ratio=[16], insertion=[True, False])
    asked, everywhere = proposer(spec), baselines(TRACED)
    inside = asked.start(everywhere["standard everywhere"])
    outside = asked.start(everywhere["post everywhere"])
    assert SearchSpace(TRACED, spec).decode(inside.parameters) == inside.architecture
    assert outside.parameters == {}
    for proposal in (inside, outside):
        asked.tell(proposal.architecture, TrialState.COMPLETE, (0.5, 1.0))
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


def recorded(proposal):
    from optuna.trial import create_trial

    return create_trial(
        state=TrialState.COMPLETE,
        params=dict(proposal.parameters),
        distributions=dict(proposal.distributions),
        values=[0.5, float(cost(TRACED, proposal.architecture).flops)],
    )


def test_no_se_is_one_architecture():
    assert Architecture(TRACED.backbone).id == baselines(TRACED)["no SE"].id


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_of_a_constrained_space_all_that_meets_the_constraints_is_proposed_and_nothing_else(sampler):
    free = SearchSpace(TRACED, SMALL)
    costs = sorted(cost(TRACED, architecture).flops for architecture in enumerate_architectures(free))
    bounds = {"flops": {"min": costs[2], "max": costs[-4]}}
    spec = SpaceSpec.model_validate({**SMALL.model_dump(), "constraints": bounds})
    feasible = {a.id for a in enumerate_architectures(SearchSpace(TRACED, spec))}
    assert 0 < len(feasible) < free.size
    asked = proposer(spec, sampler)
    seen = []
    while (proposal := asked.propose()) is not None:
        seen.append(proposal.architecture.id)
        finish(asked, proposal.architecture, len(seen))
    assert sorted(seen) == sorted(feasible)
    assert asked.exhausted
