"""Judgements against scipy, simulations, Holm's procedure carried out by hand, and what has to hold for any trials."""

import itertools
import json
import math
import random
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from results.judgement import Entry, compare, holm, judge, points, seeds_needed
from results.records import TrialRecord
from search_space.errors import InputError

# Accuracies are counts over a test set.
ACCURACY = st.integers(0, 1000).map(lambda correct: correct / 1000)
BY_SEED = st.dictionaries(st.integers(0, 7), ACCURACY, max_size=8)
LABELS = ("winner", "no SE", "standard everywhere", "post everywhere")
EVALUATIONS = st.fixed_dictionaries(dict.fromkeys(LABELS, BY_SEED.filter(bool)))
P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02, 0.05]), max_size=7)


def entry(accuracies, label="an entry"):
    return Entry(label, "id", 1, 1, accuracies)


def trial(number, label, seed, accuracy, state="COMPLETE"):
    return TrialRecord(
        number,
        state,
        architecture_id=f"of {label}",
        accuracy=accuracy,
        flops=40_551_040,
        params=269_722,
        baseline=None if label == "winner" else label,
        parameters={"seed": seed},
    )


def trials_of(evaluation):
    flat = [(label, seed, accuracy) for label, of_one in evaluation.items() for seed, accuracy in of_one.items()]
    return [trial(number, *what) for number, what in enumerate(flat)]


def judged(**percentages):
    """A judgement from lists of percentages, by label (spaces written as underscores), seeds from 0."""
    return judge(
        trials_of({label.replace("_", " "): dict(enumerate(p / 100 for p in of)) for label, of in percentages.items()})
    )


# --- one comparison


@given(st.lists(st.tuples(ACCURACY, ACCURACY), min_size=2, max_size=12))
def test_it_is_the_paired_t_test(pairs):
    ours, theirs = (list(side) for side in zip(*pairs, strict=True))
    found = compare(entry(dict(enumerate(ours))), entry(dict(enumerate(theirs))))
    differences = [a - b for a, b in pairs]
    assert found.difference == pytest.approx(fmean(ours) - fmean(theirs))
    if len({round(difference, 6) for difference in differences}) == 1:
        assert (found.p, found.interval, found.obstacle) == (None, None, "equal differences")
        return
    reference = stats.ttest_rel(ours, theirs)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-6)
    half = stats.t.ppf(0.975, len(pairs) - 1) * stdev(differences) / math.sqrt(len(pairs))
    assert found.interval == pytest.approx((found.difference - half, found.difference + half))


def test_p_is_near_that_of_flipping_signs():
    """Were there no difference, each pair could as well have been the other way round."""
    generator = random.Random(0)
    differences = [generator.gauss(0.002, 0.003) for _ in range(12)]
    found = compare(entry(dict(enumerate(0.9 + d for d in differences))), entry(dict.fromkeys(range(12), 0.9)))
    reached = abs(sum(differences))
    flipped = [
        abs(sum(map(math.prod, zip(differences, s, strict=True)))) for s in itertools.product((1, -1), repeat=12)
    ]
    assert found.p == pytest.approx(fmean(total >= reached - 1e-12 for total in flipped), abs=0.01)


def test_the_interval_holds_the_true_difference_in_95_of_100_cases():
    draws = np.random.default_rng(0).normal(0.9, 0.01, size=(1500, 5)) - 0.02
    baseline = entry(dict.fromkeys(range(5), 0.85))
    intervals = [compare(entry(dict(enumerate(row))), baseline).interval for row in draws.tolist()]
    assert fmean(low <= 0.03 <= high for low, high in intervals) == pytest.approx(0.95, abs=0.015)


@given(BY_SEED, BY_SEED)
def test_swapping_sides_flips_the_signs(first, second):
    there, back = compare(entry(first), entry(second)), compare(entry(second), entry(first))
    assert (there.seeds, there.left_out, there.obstacle) == (back.seeds, back.left_out, back.obstacle)
    assert there.p == pytest.approx(back.p)
    if there.difference is not None:
        assert there.difference == pytest.approx(-back.difference)
    if there.interval:
        assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
        opposite = {"better": "worse", "worse": "better"}
        assert there.verdict == opposite.get(back.verdict, back.verdict)


@given(BY_SEED, BY_SEED, st.integers(-500, 500).map(lambda thousandths: thousandths / 1000))
def test_adding_to_one_side_moves_the_difference_and_nothing_else(first, second, added):
    moved = compare(entry({seed: accuracy + added for seed, accuracy in first.items()}), entry(second))
    found = compare(entry(first), entry(second))
    assert (moved.obstacle, moved.seeds) == (found.obstacle, found.seeds)
    assert moved.sd == pytest.approx(found.sd, abs=1e-12)
    if found.difference is not None:
        assert moved.difference == pytest.approx(found.difference + added)
    if found.interval:
        assert moved.interval == pytest.approx([end + added for end in found.interval])


@given(BY_SEED, BY_SEED)
def test_only_seeds_that_both_have_count_and_the_others_are_named(first, second):
    found = compare(entry(first), entry(second))
    both = {seed for seed in first if seed in second}
    assert set(found.seeds) == both
    assert sorted(found.left_out + found.seeds) == sorted({*first, *second})
    alone = compare(entry({s: first[s] for s in both}), entry({s: second[s] for s in both}))
    assert (alone.difference, alone.p, alone.interval) == (found.difference, found.p, found.interval)


@pytest.mark.parametrize(
    ("ours", "theirs", "obstacle", "difference"),
    [
        ({1: 0.9}, {2: 0.8}, "no seed in common", None),
        ({1: 0.9, 2: 0.8}, {1: 0.8}, "one seed in common", 0.1),
        ({1: 0.3, 2: 0.8, 3: 0.7}, {1: 0.1, 2: 0.6, 3: 0.5}, "equal differences", 0.2),  # not equal as floats
        ({1: 0.3, 2: 0.8}, {1: 0.3, 2: 0.8}, "equal differences", 0.0),
    ],
)
def test_without_a_spread_there_is_neither_interval_nor_test(ours, theirs, obstacle, difference):
    found = compare(entry(ours), entry(theirs))
    assert (found.obstacle, found.interval, found.p, found.seeds_needed) == (obstacle, None, None, None)
    assert found.difference == (None if difference is None else pytest.approx(difference))
    assert found.verdict == "not tested"


# --- Holm


def stepped_down(p_values, level):
    """Which hypotheses the procedure rejects: from the smallest p on, until the first that is above its share."""
    left = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = set()
    while left and p_values[left[0]] * len(left) <= level:
        rejected.add(left.pop(0))
    return rejected


@given(P_VALUES, st.floats(0, 0.999))
def test_an_adjusted_p_is_within_a_level_if_the_procedure_rejects_at_it(p_values, level):
    adjusted = holm(p_values)
    assert {index for index, p in enumerate(adjusted) if p <= level} == stepped_down(p_values, level)


@given(P_VALUES)
def test_adjusted_ps_are_no_smaller_and_in_the_same_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= after <= 1 for p, after in zip(p_values, adjusted, strict=True))
    by_p = sorted(zip(p_values, adjusted, strict=True))
    assert all(first[1] <= second[1] for first, second in itertools.pairwise(by_p))


def test_all_comparisons_that_could_be_tested_are_adjusted_together():
    found = judged(
        winner=[91.0, 91.4, 91.1, 91.5],
        no_SE=[90.0, 90.1, 90.2, 90.1],
        standard=[90.8, 91.4, 91.0, 91.2],
        post=[90.9],
    )
    *tested, untested = found.comparisons
    assert [c.adjusted_p for c in tested] == holm([c.p for c in tested])
    assert tested[0].adjusted_p == pytest.approx(2 * tested[0].p)  # of two, not of three
    assert (untested.p, untested.adjusted_p) == (None, None)


# --- how many seeds


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_are_those_of_the_usual_tables(effect, pairs):
    """Paired t-test, two-sided, 5%, power 80%, for what Cohen called small, medium and large effects."""
    assert seeds_needed(effect * 0.003, 0.003) == seeds_needed(-effect, 1.0) == pairs


@pytest.mark.parametrize("effect", [0.7, 1.0, 1.8])
def test_simulated_studies_of_so_many_seeds_find_the_difference_in_80_of_100_cases(effect):
    def found_in(pairs):
        drawn = np.random.default_rng(1).normal(effect, 1.0, size=(40_000, pairs))
        return np.mean(stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05)

    needed = seeds_needed(effect, 1.0)
    assert found_in(needed) >= 0.795
    assert found_in(needed - 1) < 0.805


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-6, 1))
def test_larger_differences_never_need_more_seeds(first, second, sd):
    smaller, larger = sorted((first, second))
    assert (seeds_needed(larger, sd) or math.inf) <= (seeds_needed(smaller, sd) or math.inf)


def test_hopelessly_many_seeds_are_not_told():
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(0.01, 1.0) is None


# --- the whole


@given(EVALUATIONS, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_trials_does_not_matter(evaluation, generator):
    trials = trials_of(evaluation)
    shuffled = generator.sample(trials, len(trials))
    assert judge(shuffled) == judge(trials)
    assert judge(shuffled).to_json() == judge(trials).to_json()


@given(EVALUATIONS)
@settings(max_examples=50)
def test_entries_and_comparisons_are_those_of_the_trials(evaluation):
    found = judge(trials_of(evaluation))
    assert {e.label: dict(e.accuracies) for e in found.entries} == evaluation
    for e in found.entries:
        values = list(evaluation[e.label].values())
        assert e.mean == pytest.approx(np.mean(values))
        assert e.sd == (pytest.approx(np.std(values, ddof=1)) if len(values) > 1 else None)
    baselines = [label for label in evaluation if label != "winner"]
    assert [e.label for e in found.entries] == ["winner", *baselines]
    assert [(c.entry, c.against) for c in found.comparisons] == [("winner", label) for label in baselines]
    assert all(c.p is None or c.adjusted_p >= c.p for c in found.comparisons)


def test_further_metrics_are_those_of_the_trials_that_count():
    figures = {"balanced_accuracy": 0.25, "loss": math.inf, "text": "x"}
    trials = [
        replace(trial(0, "winner", 3, 0.5), metrics=figures),
        replace(trial(1, "winner", 1, 0.5), metrics=figures | {"balanced_accuracy": 0.75}),
        replace(trial(2, "winner", 2, None, "FAIL"), metrics=figures),
    ]
    (found,) = judge(trials).entries
    assert found.metrics == {"balanced_accuracy": {1: 0.75, 3: 0.25}}
    assert found.to_json()["metrics"] == {"balanced_accuracy": {"1": 0.75, "3": 0.25}}


@given(EVALUATIONS)
@settings(max_examples=50)
def test_json_has_finite_numbers_only(evaluation):
    json.dumps(judge(trials_of(evaluation)).to_json(), allow_nan=False)


@given(EVALUATIONS)
@settings(max_examples=50)
def test_against_one_entry_is_the_winners_comparison_from_the_other_side(evaluation):
    trials = trials_of(evaluation)
    forth = {c.against: c for c in judge(trials).comparisons}
    back = judge(trials, against="winner").comparisons
    assert [(c.entry, c.against) for c in back] == [(label, "winner") for label in evaluation if label != "winner"]
    for c in back:
        assert c.adjusted_p == pytest.approx(forth[c.entry].adjusted_p)
        assert c.difference == (None if not c.seeds else pytest.approx(-forth[c.entry].difference))


def test_trials_that_failed_diverged_or_run_are_counted_and_not_scored():
    found = judge(
        [
            trial(0, "winner", 0, 0.9),
            trial(1, "winner", 1, None, "FAIL"),
            trial(2, "winner", 2, math.nan),
            trial(3, "winner", 3, None, "RUNNING"),
            trial(4, "winner", 4, None, "FAIL"),
            trial(5, "winner", 4, 0.8),  # tried again
            trial(6, "winner", 5, None, "FAIL"),
            trial(7, "winner", 5, None, "WAITING"),  # to be tried again
            *[trial(8 + seed, "no SE", seed, 0.7 + seed / 100) for seed in range(5)],
        ]
    )
    winner, _ = found.entries
    assert (dict(winner.accuracies), winner.failures, winner.unfinished) == ({0: 0.9, 4: 0.8}, 2, 2)
    assert (found.comparisons[0].seeds, found.comparisons[0].left_out) == ((0, 4), (1, 2, 3))
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([], "no winner"),
        ([trial(0, "no SE", 0, 0.9)], "no winner"),
        ([trial(0, "winner", None, 0.9)], "trial 0 has no seed"),
        ([trial(0, "winner", 1, 0.9), trial(1, "winner", 1, 0.8)], "two complete trials of seed 1"),
        ([trial(0, "winner", 1, 0.9), TrialRecord(1, "FAIL", "other", parameters={"seed": 2})], "different architect"),
    ],
)
def test_what_is_no_evaluation_is_refused(trials, message):
    with pytest.raises(InputError, match=message):
        judge(trials)


def test_an_unknown_reference_is_refused():
    with pytest.raises(InputError, match="did you mean 'no SE'"):
        judge([trial(0, "no SE", 0, 0.9)], against="no-SE")


# --- the sentence


@pytest.mark.parametrize(
    ("difference", "shown"), [(0.0042, "+0.42"), (-0.0042, "-0.42"), (-1e-18, "+0.00"), (0.123456, "+12.35")]
)
def test_points(difference, shown):
    assert points(difference) == shown


STEADY = [91.0, 91.3, 90.9, 91.2, 91.1]


def less(points, by=(0.02, -0.02, 0.01, -0.01, 0.0)):
    return [ours - points + noise for ours, noise in zip(STEADY, by, strict=True)]


NOISY = (0.9, -0.7, 0.4, -0.8, 0.2)


@pytest.mark.parametrize(
    ("percentages", "sentence"),
    [
        (
            {"no_SE": less(1), "post": less(0.5)},
            "The winner is better than all 2 baselines beyond seed noise (least over post: +0.50 points, "
            "95% interval +0.48 to +0.52, 5 seeds).",
        ),
        (
            {"no_SE": less(1)},
            "The winner is better than no SE beyond seed noise (+1.00 points, 95% interval +0.98 to +1.02, 5 seeds).",
        ),
        (
            {"no_SE": less(1), "post": less(-0.5), "pre": less(-0.1, NOISY)},
            "The winner is better than no SE beyond seed noise (+1.00 points, 95% interval +0.98 to +1.02, 5 seeds); "
            "worse beyond seed noise than post (-0.50 points, 95% interval -0.52 to -0.48, 5 seeds); "
            "not shown to be better than pre (-0.10 points, 95% interval -1.01 to +0.81, 5 seeds, adjusted p 0.78).",
        ),
        (
            {"no_SE": less(0.5, NOISY)},
            "The winner is not shown to be better than no SE (+0.50 points, 95% interval -0.41 to +1.41, 5 seeds, "
            "adjusted p 0.2; about 19 seeds would show it, if difference and spread are as observed).",
        ),
        (
            {"no_SE": less(1), "post": less(0.5)[:1]},
            "The winner is better than no SE beyond seed noise (+1.00 points, 95% interval +0.98 to +1.02, 5 seeds); "
            "not testable against post (+0.48 points at one seed).",
        ),
        (
            {"no_SE": [90.0], "post": []},
            "Too few seeds to tell whether the winner is better than no SE (+1.00 points at one seed): "
            "a test needs two in common.",
        ),
        (
            {"no_SE": less(0.5, [0] * 5)},
            "The winner is not testable against no SE (all 5 differences are +0.50 points, without spread).",
        ),
        ({}, "There is no baseline to compare the winner with."),
    ],
)
def test_the_sentence(percentages, sentence):
    assert judged(winner=STEADY, **percentages).sentence == sentence


def test_the_number_of_seeds_is_told_only_where_more_than_there_are_could_show_an_advantage():
    found = judged(winner=STEADY, no_SE=less(0.5, NOISY)).comparisons[0]
    differences = [0.005 - noise / 100 for noise in NOISY]
    assert found.seeds_needed == seeds_needed(fmean(differences), stdev(differences)) == 19
    two = judged(winner=STEADY[:2], no_SE=less(0.5, NOISY)[:2])
    assert two.comparisons[0].seeds_needed is None  # two show no spread
    assert "would show" not in two.sentence
    # Enough seeds for one test, but not for ten: more of them is then not what that number says.
    many = judged(winner=STEADY, **{f"baseline {n}": less(0.5, (0.28, -0.28, 0.21, -0.14, -0.07)) for n in range(10)})
    assert all(c.verdict == "not shown" and c.seeds_needed <= 5 for c in many.comparisons)
    assert "would show" not in many.sentence


def test_the_sentence_of_entries_against_one():
    evaluation = {"none": STEADY, "SE": less(-1), "bump": less(0.4), "slow": less(0.1, NOISY), "late": STEADY[:1]}
    found = judge(
        trials_of({label: dict(enumerate(p / 100 for p in of)) for label, of in evaluation.items()}), against="none"
    )
    assert found.sentence == (
        "Against none, better beyond seed noise: SE (+1.00 points); worse beyond seed noise: bump (-0.40 points); "
        "not shown to differ: slow (-0.10 points); not testable: late (+0.00 points at one seed)."
    )
