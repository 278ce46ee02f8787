"""The analysis of a study against what is known of made-up ones, and against plain references."""

import json
import math
import random
import warnings
from datetime import UTC, datetime, timedelta

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from se_block import se_block

from results.analysis import analyze
from results.analysis.comparable import Outcome, comparable
from results.analysis.effects import effects
from results.analysis.least_squares import fit
from results.analysis.networks import networks
from results.analysis.rungs import spearman_interval
from results.analysis.stages import stages
from results.records import TrialRecord
from results.study import Study, open_study
from results.tables import Objective
from search_space.architecture import Architecture, Backbone
from search_space.backbones import resolve
from search_space.errors import InputError
from search_space.tracing import trace

BACKBONE = Backbone("resnet20", 10, (3, 32, 32))
STAGES = ("layer1", "layer2", "layer3")
LEVELS = {"position": ("standard", "pre", "post"), "ratio": ("16", "4", "8")}
HIDDEN = {"16": 1, "8": 2, "4": 4}


def propose(number, generator, accuracy=0.0, curve=()):
    """A trial with SE at stages by chance; position and ratio are chosen per stage."""
    parameters, sites = {}, []
    for stage in STAGES:
        parameters[f"{stage}.insertion"] = inserted = generator.random() < 0.6
        if inserted:
            position, ratio = (generator.choice(LEVELS[factor]) for factor in LEVELS)
            parameters |= {f"{stage}.position": position, f"{stage}.ratio": int(ratio)}
            sites += [(f"{stage}.{block}", se_block(position, (HIDDEN[ratio],))) for block in range(3)]
    return TrialRecord(
        number=number,
        state="COMPLETE",
        accuracy=accuracy,
        flops=1000 + 10 * len(sites),
        curve=curve,
        epochs=len(curve),
        parameters=parameters,
        objectives={"accuracy": accuracy, "flops": 1000.0 + 10 * len(sites)},
        architecture_json=json.dumps(Architecture(BACKBONE, tuple(sites)).to_dict()),
    )


def study_of(records, user_attrs=None, objectives=None):
    objectives = objectives or (Objective("accuracy", True), Objective("flops", False))
    return Study("made up", user_attrs or {}, objectives, tuple(records))


def expected(trials, truth):
    """The accuracies by the model as it is documented, from the parameters alone."""
    blocks = [
        [{factor: str(trial.parameters[f"{stage}.{factor}"]) for factor in LEVELS} for stage in present(trial)]
        for trial in trials
    ]
    everywhere = [block for of_trial in blocks for block in of_trial]
    accuracies = np.full(len(trials), 0.5)
    for i, trial in enumerate(trials):
        accuracies[i] += sum(truth["SE at " + stage] for stage in present(trial))
        for factor, levels in LEVELS.items():
            for level in levels[1:]:
                usual = np.mean([block[factor] == level for block in everywhere])
                own = np.mean([block[factor] == level for block in blocks[i]]) - usual if blocks[i] else 0.0
                accuracies[i] += truth[factor, level] * own
    return accuracies


def present(trial):
    return [stage for stage in STAGES if trial.parameters[f"{stage}.insertion"]]


def key(effect):
    return effect.factor if effect.factor.startswith("SE at") else (effect.factor, effect.level)


NAMES = [*(f"SE at {stage}" for stage in STAGES), *((f, level) for f, ls in LEVELS.items() for level in ls[1:])]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-0.1, 0.1), min_size=len(NAMES), max_size=len(NAMES)), st.integers(0, 2**32))
def test_without_noise_the_effects_are_found_exactly(sizes, seed):
    truth = dict(zip(NAMES, sizes, strict=True))
    generator = random.Random(seed)
    trials = [propose(number, generator) for number in range(60)]
    outcomes = [Outcome(trial, a) for trial, a in zip(trials, expected(trials, truth), strict=True)]
    found = {key(effect): effect for effect in effects(outcomes, [])}
    assert found.keys() == truth.keys()
    for name, effect in found.items():
        assert effect.difference == pytest.approx(truth[name], abs=1e-9)
        assert effect.low <= effect.difference <= effect.high
        assert effect.high - effect.low < 1e-8


@pytest.mark.parametrize("uneven", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(uneven):
    """Whether the noise is the same everywhere, or three times as large where the first stage has SE."""
    truth = dict(zip(NAMES, (0.02, -0.01, 0.0, 0.01, -0.03, 0.005, 0.0), strict=True))
    generator, noise = random.Random(1), np.random.default_rng(1)
    trials = [propose(number, generator) for number in range(50)]
    accuracies = expected(trials, truth)
    sd = np.array([0.03 if uneven and "layer1" in present(trial) else 0.01 for trial in trials])
    held = []
    for _ in range(120):
        drawn = accuracies + noise.normal(size=len(trials)) * sd
        found = effects([Outcome(trial, a) for trial, a in zip(trials, drawn, strict=True)], [])
        held += [effect.low <= truth[key(effect)] <= effect.high for effect in found]
    assert len(held) == 120 * len(NAMES)
    assert 0.93 < np.mean(held) < 0.985


def test_trials_and_those_of_the_reference_are_counted():
    generator = random.Random(0)
    trials = [propose(number, generator) for number in range(60)]
    found = {key(e): e for e in effects([Outcome(trial, generator.random()) for trial in trials], [])}
    with_se = sum("layer2" in present(trial) for trial in trials)
    assert (found["SE at layer2"].trials, found["SE at layer2"].reference_trials) == (with_se, 60 - with_se)
    post = sum("post" in trial.parameters.values() for trial in trials)
    standard = sum("standard" in trial.parameters.values() for trial in trials)
    assert (found["position", "post"].trials, found["position", "post"].reference_trials) == (post, standard)
    assert found["ratio", "4"].reference == "16"


@pytest.mark.parametrize("name", ["resnet20", "cnn3", "mnasnet0_5"])
def test_stages_are_those_of_the_traced_backbone(name):
    """Where names tell (layer1.0), where they do not (conv1), and where they tell of modules that are no stages."""
    backbone = resolve(name, num_classes=10, input_size=(3, 32, 32))
    sites = trace(backbone).sites
    everywhere = Architecture(backbone, tuple((site.name, se_block("standard", (1,))) for site in sites))
    (found,) = stages([everywhere], {site.stage_name for site in sites}, []).values()
    assert {site: found[site] for site in everywhere.se} == {site.name: site.stage_name for site in sites}


def test_a_backbone_that_is_not_there_any_more_has_its_sites_for_stages():
    gone = Backbone("no_such_package:Net", 10, (1, 8, 8))
    notes = []
    found = stages([Architecture(gone, (("features", se_block("standard", (1,))),))], (), notes)
    assert found == {gone: {}}
    assert notes[0].startswith("The stages of no_such_package:Net are not known")


def test_ratios_are_found_whatever_they_are_chosen_per():
    sites = tuple((f"layer1.{block}", se_block("post", (2,))) for block in range(2))
    sites += (("layer2.0", se_block("post", (2,))),)
    per = {
        "network": {"ratio": 8},
        "stage": {"a/layer1.ratio": 4, "a/layer2.ratio": 2, "backbone": "a"},
        "layer": {"layer1.0.ratio": 2, "layer1.1.ratio": 4, "layer2.0.ratio": 8},
    }
    text = json.dumps(Architecture(BACKBONE, sites).to_dict())
    trials = [TrialRecord(0, "COMPLETE", parameters=chosen, architecture_json=text) for chosen in per.values()]
    found = networks([Outcome(trial, 0.5) for trial in trials], [])
    assert [[block.levels["ratio"] for block in network.blocks] for network in found] == [
        ["8", "8", "8"],
        ["4", "4", "2"],
        ["2", "4", "8"],
    ]
    assert {block.stage for network in found for block in network.blocks} == {"layer1", "layer2"}


def test_backbones_are_compared_too():
    generator = random.Random(0)
    other = Backbone("resnet32", 10, (3, 32, 32))
    outcomes = []
    for number in range(80):
        trial = propose(number, generator)
        if number % 2:
            deeper = Architecture(other, trial.architecture.sites)
            trial = TrialRecord(
                number, "COMPLETE", parameters=trial.parameters, architecture_json=json.dumps(deeper.to_dict())
            )
        outcomes.append(Outcome(trial, 0.5 + 0.1 * (number % 2) + generator.gauss(0, 0.001)))
    first = effects(outcomes, [])[0]
    assert (first.factor, first.trials, first.reference_trials) == ("backbone", 40, 40)
    assert {first.level, first.reference} == {"resnet20", "resnet32"}
    assert abs(first.difference) == pytest.approx(0.1, abs=0.002)


def test_among_the_survivors_an_effect_looks_smaller_than_it_is():
    """Which is why the accuracies are those of an epoch that all trials reached."""
    truth = dict.fromkeys(NAMES, 0.0) | {"SE at layer1": 0.05}
    generator, noise = random.Random(0), np.random.default_rng(0)
    trials = [propose(number, generator) for number in range(300)]
    accuracies = expected(trials, truth) + noise.normal(size=300) * 0.03
    best = accuracies >= np.median(accuracies)

    def found(chosen):
        outcomes = [Outcome(trial, a) for trial, a, take in zip(trials, accuracies, chosen, strict=True) if take]
        return effects(outcomes, [])[0].difference

    assert found(np.full(300, True)) == pytest.approx(0.05, abs=0.01)
    assert found(best) < 0.03


def test_choices_that_always_go_together_are_not_told_apart():
    generator = random.Random(0)
    together = (
        t for t in (propose(n, generator) for n in range(400)) if ("layer1" in present(t)) == ("layer2" in present(t))
    )
    notes = []
    found = effects([Outcome(trial, generator.random()) for trial in list(together)[:80]], notes)
    assert {"SE at layer3", ("position", "pre")} <= {key(effect) for effect in found}
    assert not {"SE at layer1", "SE at layer2"} & {key(effect) for effect in found}
    assert notes == ["Not told, as they always go together in these trials: SE at layer1, SE at layer2."]


def test_the_intervals_are_those_of_leaving_out_one_row_after_another():
    random_ = np.random.default_rng(0)
    columns, values = random_.normal(size=(30, 3)), random_.normal(size=30)

    def coefficients(rows):
        design = np.column_stack([np.ones(len(rows)), columns[rows]])
        return np.linalg.lstsq(design, values[rows], rcond=None)[0][1:]

    everything = coefficients(np.arange(30))
    without = np.array([coefficients(np.delete(np.arange(30), i)) for i in range(30)])
    sd = np.sqrt(((without - everything) ** 2).sum(axis=0))
    estimates = fit(columns, values)
    assert [e.value for e in estimates] == pytest.approx(everything)
    assert [(e.high - e.low) / 2 for e in estimates] == pytest.approx(sd * 2.0555294386)  # t of 26 degrees, 97.5 %


def test_a_row_that_alone_decides_a_coefficient_says_nothing_of_its_noise():
    columns = np.column_stack([np.eye(12)[0], np.tile([0.0, 1.0], 6)])
    alone, other = fit(columns, np.arange(12.0) + np.tile([0.0, 5.0], 6))
    assert alone is None
    assert other is not None
    assert other.low < other.value < other.high


def test_the_accuracies_are_those_of_the_last_epoch_that_all_reached():
    generator = random.Random(0)
    curves = [(0.1, 0.2, 0.3, 0.4), (0.5, 0.6), (0.1, math.nan, 0.3, 0.4), (0.9,), (0.7, 0.8, 0.85)]
    states = ["COMPLETE", "PRUNED", "COMPLETE", "RUNNING", "RUNNING"]
    trials = [propose(number, generator, curve=curve) for number, curve in enumerate(curves)]
    for trial, state in zip(trials, states, strict=True):
        object.__setattr__(trial, "state", state)
    study = study_of(trials)
    assert [(o.trial.number, o.accuracy) for o in comparable(study, None, [])] == [(0, 0.2), (1, 0.6), (4, 0.8)]
    notes = []
    assert [o.trial.number for o in comparable(study, 3, notes)] == [0, 2, 4]
    assert "the 1 trials stopped before it are missing" in notes[0]
    with pytest.raises(InputError, match="epoch 5: the nearest recorded is 4"):
        comparable(study, 5, [])


def test_epochs_are_those_that_were_recorded_not_their_places():
    """Trial 0 has no accuracy of epoch 20, trial 1 was stopped after 30."""
    steps = [(10, 30, 40), (10, 20, 30), (10, 20, 30, 40)]
    curves = [tuple(step / 100 + number / 10 for step in own) for number, own in enumerate(steps)]
    states = ("COMPLETE", "PRUNED", "COMPLETE")
    trials = [
        TrialRecord(number, state, parameters={"x": number}, curve=curve, steps=own)
        for number, (state, curve, own) in enumerate(zip(states, curves, steps, strict=True))
    ]
    notes = []
    found = comparable(study_of(trials), None, notes)
    assert [outcome.accuracy for outcome in found] == pytest.approx([0.3, 0.4, 0.5])
    assert "after epoch 30 of 40, the last that every" in notes[0]
    assert [outcome.trial.number for outcome in comparable(study_of(trials), 20, notes)] == [1, 2]
    assert "1 trials did not record it" in notes[1]
    assert [outcome.trial.number for outcome in comparable(study_of(trials), 40, notes)] == [0, 2]
    assert "the 1 trials stopped before it are missing" in notes[2]
    with pytest.raises(InputError, match="epoch 21: the nearest recorded is 20"):
        comparable(study_of(trials), 21, [])


def test_trials_with_no_epoch_in_common_are_compared_at_the_end_of_the_shortest():
    trials = [TrialRecord(n, "COMPLETE", curve=(0.1, 0.2), steps=own) for n, own in enumerate([(1, 3), (2, 4)])]
    notes = []
    assert [(outcome.trial.number, outcome.accuracy) for outcome in comparable(study_of(trials), None, notes)] == [
        (0, 0.2)
    ]
    assert "1 trials did not record it" in notes[0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=25), st.integers(0, 2**32))
def test_the_hypervolume_never_falls_and_is_optunas(values, seed):
    names = ("accuracy", "flops", "loss")
    shuffled = random.Random(seed).sample(range(len(values)), len(values))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    trials = [
        TrialRecord(
            number=number,
            state="COMPLETE",
            ended=start + timedelta(seconds=place),
            objectives=dict(zip(names, map(float, value), strict=True)),
        )
        for number, (value, place) in enumerate(zip(values, shuffled, strict=True))
    ]
    objectives = tuple(Objective(name, name == "accuracy") for name in names)
    points = analyze(study_of(trials, objectives=objectives)).hypervolume
    assert [point.ended for point in points] == [start + timedelta(seconds=i) for i in range(len(values))]
    grown = [point.hypervolume for point in points]
    assert grown == sorted(grown)
    assert grown[0] > 0
    assert grown[-1] <= 1 + 1e-12
    losses = np.array(values, float) * (-1, 1, 1)
    width = losses.max(axis=0) - losses.min(axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(width == 0, 1, width)
    order = [point.number for point in points]
    for count in (1, len(order)):
        reference = compute_hypervolume(scaled[order[:count]], np.full(3, 1.1)) / 1.1**3
        assert grown[count - 1] == pytest.approx(reference)


def test_rank_correlations_are_spearmans_at_ashas_rungs():
    generator = np.random.default_rng(0)
    curves = np.round(generator.random((12, 9)), 1)
    trials = [propose(n, random.Random(n), curve=tuple(curve)) for n, curve in enumerate(curves.tolist())]
    asha = {"config": {"search": {"asha": {"min_epochs": 2, "eta": 2}}}, "epochs": 9}
    found = analyze(study_of(trials, asha)).rungs
    assert [(row.epoch, row.last_epoch, row.trials) for row in found] == [(2, 9, 12), (4, 9, 12), (8, 9, 12)]
    for row in found:
        ranks = [_mean_ranks(curves[:, epoch - 1]) for epoch in (row.epoch, 9)]
        assert row.rho == pytest.approx(np.corrcoef(*ranks)[0, 1])
        assert -1 <= row.low < row.rho < row.high <= 1
    assert [row.epoch for row in analyze(study_of(trials)).rungs] == list(range(1, 9))


def test_rank_correlations_are_of_the_same_recorded_epochs():
    """Of every other trial the first report is missing; among the rest, epoch 10 has the reverse of the final order."""
    trials = [
        TrialRecord(n, "COMPLETE", curve=(0.5 + n / 99, n / 99), steps=(20, 30))
        if n % 2
        else TrialRecord(n, "COMPLETE", curve=(-n / 99, 0.5 + n / 99, n / 99), steps=(10, 20, 30))
        for n in range(12)
    ]
    found = analyze(study_of(trials)).rungs
    assert [(row.epoch, row.last_epoch, row.trials, row.rho) for row in found] == [
        (10, 30, 6, pytest.approx(-1)),
        (20, 30, 12, pytest.approx(1)),
    ]


def test_rank_correlations_say_whom_they_leave_out():
    """Also a trial that was pruned after its last epoch has both accuracies."""
    generator = random.Random(0)
    lengths, states = [3] * 7 + [1] * 4, ["PRUNED"] + ["COMPLETE"] * 6 + ["PRUNED"] * 4
    trials = [
        TrialRecord(n, state, curve=tuple(generator.random() for _ in range(length)))
        for n, (length, state) in enumerate(zip(lengths, states, strict=True))
    ]
    analysis = analyze(study_of(trials))
    assert [row.trials for row in analysis.rungs] == [7, 7]
    (said,) = [note for note in analysis.notes if "rank correlations" in note]
    assert "of the 7 trials with an accuracy after epoch 3. The 4 that were stopped before it are missing" in said


def test_scores_of_the_last_epoch_alone_have_no_rank_correlation():
    trials = [TrialRecord(n, "COMPLETE", accuracy=n / 9, curve=(n / 9,), steps=(30,)) for n in range(8)]
    analysis = analyze(study_of(trials, {"epochs": 30}))
    assert analysis.rungs == ()
    assert any("There are no rank correlations: no epoch before 30" in note for note in analysis.notes)


def _mean_ranks(values):
    return [np.mean(np.flatnonzero(np.sort(values) == value)) for value in values]


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_intervals_of_rank_correlations_hold_the_truth_as_often_as_they_say(correlation):
    generator = np.random.default_rng(0)
    truth = 6 / math.pi * math.asin(correlation / 2)  # Spearman's of two normal variables
    drawn = generator.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=(600, 30))
    ranks = drawn.argsort(axis=1).argsort(axis=1)
    intervals = [spearman_interval(np.corrcoef(pair.T)[0, 1], 30) for pair in ranks]
    assert 0.925 < np.mean([low <= truth <= high for low, high in intervals]) < 0.975


def test_a_perfect_order_of_few_trials_is_no_certainty():
    low, high = spearman_interval(1.0, 6)
    assert low < 0.9
    assert high == 1.0
    assert spearman_interval(-1.0, 6) == pytest.approx((-1.0, -low))


def test_the_choice_that_matters_is_the_most_important_one():
    generator = random.Random(0)
    trials = [propose(number, generator) for number in range(150)]
    accuracies = [0.5 + 0.3 * ("layer2" in present(trial)) + generator.gauss(0, 0.01) for trial in trials]
    records = [
        TrialRecord(**{**vars_of(t), "accuracy": a, "objectives": {"accuracy": a, "flops": t.objectives["flops"]}})
        for t, a in zip(trials, accuracies, strict=True)
    ]
    found = analyze(study_of(records)).importances
    of_accuracy = [row for row in found if row.objective == "accuracy"]
    assert {row.objective for row in found} == {"accuracy", "flops"}
    assert max((row for row in of_accuracy if row.fanova is not None), key=lambda row: row.fanova).parameter == (
        "layer2.insertion"
    )
    assert "layer2" in of_accuracy[0].parameter
    assert sum(row.ped_anova for row in of_accuracy) == pytest.approx(1)
    assert sum(row.fanova or 0 for row in of_accuracy) == pytest.approx(1)
    assert {row.parameter for row in of_accuracy if row.fanova is None} == {
        f"{stage}.{what}" for stage in STAGES for what in ("position", "ratio")
    }


def vars_of(record):
    return {name: value for name, value in vars(record).items() if name != "architecture"}


@pytest.mark.parametrize("maximize", [True, False])
def test_importance_is_of_getting_among_the_best_not_the_worst(maximize):
    generator = random.Random(0)
    records = []
    for number in range(200):
        chosen = {"helps": generator.random() < 0.2, "harms": generator.random() < 0.2}
        value = (chosen["helps"] - chosen["harms"] + generator.gauss(0, 0.1)) * (1 if maximize else -1)
        records.append(TrialRecord(number, "COMPLETE", parameters=chosen, objectives={"score": value}))
    found = analyze(study_of(records, objectives=(Objective("score", maximize),))).importances
    assert [row.parameter for row in found] == ["helps", "harms"]
    assert found[0].ped_anova > 0.8


def test_importances_are_of_the_distributions_that_were_recorded(new_study, url):
    """By Optuna on the study itself. By the values seen a logarithmic range would be read as a linear one."""
    study = new_study(metrics=("accuracy",))
    distributions = {
        "lr": FloatDistribution(1e-6, 1, log=True),
        "x": FloatDistribution(0, 1),
        "width": IntDistribution(4, 16, step=4),
        "kind": CategoricalDistribution(["a", None, True]),
    }
    draw = random.Random(1)
    for _ in range(60):
        chosen = {
            "lr": 10 ** draw.uniform(-6, 0),
            "x": draw.random(),
            "width": draw.choice([4, 8, 12]),
            "kind": draw.choice(["a", None, True]),
        }
        study.add_trial(
            optuna.trial.create_trial(
                params=chosen, distributions=distributions, value=0.5 + 0.3 * chosen["x"] + draw.gauss(0, 0.02)
            )
        )
    found = analyze(open_study(url, study.study_name)).importances
    assert found[0].parameter == "x"
    loaded = optuna.load_study(storage=url, study_name=study.study_name)
    theirs = get_param_importances(loaded, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    assert {row.parameter: row.ped_anova for row in found} == pytest.approx(theirs)
    assert max(found, key=lambda row: row.fanova).parameter == "x"


def test_a_range_that_was_changed_is_taken_as_one(new_study, url):
    study = new_study(metrics=("accuracy",))
    draw = random.Random(0)
    for number in range(40):
        ranges = {
            "rate": FloatDistribution(1e-4, 1e-2 if number < 20 else 1e-1, log=True),
            "width": IntDistribution(1, 8 if number < 20 else 32, log=True),
        }
        chosen = {"rate": 10 ** draw.uniform(-4, -2 if number < 20 else -1), "width": draw.choice([1, 2, 4, 8])}
        accuracy = math.log(chosen["rate"]) + 0.01 * chosen["width"]
        study.add_trial(optuna.trial.create_trial(params=chosen, distributions=ranges, value=accuracy))
    found = analyze(open_study(url, study.study_name)).importances
    assert [row.parameter for row in found] == ["rate", "width"]
    assert found[0].fanova > 0.8


def test_choices_may_be_lists(new_study, url):
    study = new_study(metrics=("accuracy",))
    draw = random.Random(0)
    ranges = {"widths": CategoricalDistribution([[8, 16], [16, 32]]), "x": FloatDistribution(0, 1)}
    for _ in range(24):
        chosen = {"widths": draw.choice([[8, 16], [16, 32]]), "x": draw.random()}
        accuracy = (chosen["widths"] == [16, 32]) + 0.1 * draw.random()
        study.add_trial(optuna.trial.create_trial(params=chosen, distributions=ranges, value=accuracy))
    opened = open_study(url, study.study_name)
    with warnings.catch_warnings(action="error"):
        assert analyze(opened).importances[0].parameter == "widths"
    of_records = Study("made up", {}, opened.objectives, opened.records)
    assert analyze(of_records).importances[0].parameter == "widths"


def test_a_study_as_senas_leaves_it(searched, url):
    analysis = analyze(open_study(url, searched.study_name))
    assert len(analysis.hypervolume) == 16
    assert json.loads(json.dumps(analysis.to_json(), allow_nan=False)) == analysis.to_json()
    assert analyze(open_study(url, searched.study_name)) == analysis


def test_a_study_that_senas_did_not_make(new_study, url):
    study = new_study(metrics=("accuracy",))
    for number in range(30):
        trial = study.ask()
        accuracy = trial.suggest_float("rate", 0, 1) / (2 if trial.suggest_categorical("kind", ["a", None]) else 1)
        if number < 25:
            for step in range(3):
                trial.report(accuracy * (step + 1), step)
        study.tell(trial, accuracy)
    analysis = analyze(open_study(url, study.study_name))
    assert {row.parameter for row in analysis.importances} == {"rate", "kind"}
    assert (analysis.effects, len(analysis.hypervolume)) == ((), 30)
    assert any("no two trials" in note for note in analysis.notes)


def test_an_empty_study_says_why_it_says_nothing(new_study, url):
    new_study()
    analysis = analyze(open_study(url, "a study"))
    assert (analysis.importances, analysis.effects, analysis.rungs, analysis.hypervolume) == ((), (), (), ())
    said = " ".join(analysis.notes)
    assert all(what in said for what in ("importances", "effects", "rank correlations", "hypervolume"))


def test_optuna_is_left_as_loud_as_it_was():
    before = optuna.logging.get_verbosity()
    generator = random.Random(0)
    analyze(study_of([propose(number, generator, accuracy=generator.random()) for number in range(20)]))
    assert optuna.logging.get_verbosity() == before
