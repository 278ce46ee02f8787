"""Studies side by side, against brute force and Optuna's own hypervolume."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from results.comparing import compare
from results.records import STATES, TrialRecord
from results.study import Study
from results.tables import Objective
from search_space.errors import InputError

ACCURACY, FLOPS, LOSS = Objective("accuracy", True), Objective("flops", False), Objective("loss", False)

values = st.tuples(st.integers(0, 9).map(lambda tenths: tenths / 10), st.integers(1, 9))
several = st.lists(st.lists(values, max_size=12), min_size=2, max_size=4)


def study(
    points: list[tuple[float, float]],
    name: str,
    *,
    objectives: tuple[Objective, ...] = (ACCURACY, FLOPS),
    unit: float = 1.0,
    unfinished: tuple[TrialRecord, ...] = (),
    **said: Any,
) -> Study:
    records = [
        TrialRecord(n, "COMPLETE", accuracy=a, flops=int(f), objectives={"accuracy": a, "flops": f * unit})
        for n, (a, f) in enumerate(points)
    ]
    return Study(name=name, user_attrs=said, objectives=objectives, records=(*records, *unfinished))


def named(lists: list[list[tuple[float, int]]]) -> list[Study]:
    return [study(points, f"study {index}") for index, points in enumerate(lists)]


def as_good(a: tuple[float, int], b: tuple[float, int]) -> bool:
    return a[0] >= b[0] and a[1] <= b[1]


def undominated(points: list[tuple[float, int]]) -> set[tuple[float, int]]:
    return {point for point in points if not any(as_good(other, point) and other != point for other in points)}


@given(several)
def test_hypervolumes_are_those_of_optuna_on_one_scale(lists: list[list[tuple[float, int]]]) -> None:
    every = [point for points in lists for point in points]
    if not every:
        assert [one.hypervolume for one in compare(named(lists)).studies] == [0.0] * len(lists)
        return
    low, high = np.min(every, axis=0), np.max(every, axis=0)
    width = np.where(high > low, high - low, 1.0)
    for one, points in zip(compare(named(lists)).studies, lists, strict=True):
        losses = np.array([((high[0] - a) / width[0], (f - low[1]) / width[1]) for a, f in points]).reshape(-1, 2)
        assert one.hypervolume == pytest.approx(compute_hypervolume(losses, np.array([1.1, 1.1])) / 1.21)


@given(several)
def test_fronts_shares_and_coverage_are_those_of_their_definitions(lists: list[list[tuple[float, int]]]) -> None:
    joint = undominated([point for points in lists for point in points])
    found = compare(named(lists)).studies
    for one, points in zip(found, lists, strict=True):
        front = undominated(points)
        assert one.front_size == sum(point in front for point in points)
        assert one.share == (len(front & joint) / len(joint) if joint else None)
        for other, theirs in zip(found, lists, strict=True):
            beaten = [p for p in theirs if p in undominated(theirs)]
            if other is one:
                assert other.name not in one.covers
            elif beaten:
                covered = sum(any(as_good(our, their) for our in front) for their in beaten)
                assert one.covers[other.name] == covered / len(beaten)
            else:
                assert one.covers[other.name] is None


@given(several)
def test_the_accuracy_at_any_cost_is_that_of_the_level_below(lists: list[list[tuple[float, int]]]) -> None:
    studies = named(lists)
    levels = compare(studies).levels
    assert [level.flops for level in levels] == sorted({level.flops for level in levels})
    for flops in range(11):
        best = {
            one.name: max((a for a, f in points if f <= flops), default=None)
            for one, points in zip(studies, lists, strict=True)
        }
        below = [level.accuracies for level in levels if level.flops <= flops]
        assert (below[-1] if below else dict.fromkeys(best)) == best


@given(several, st.floats(0.001, 1e9))
def test_units_do_not_matter(lists: list[list[tuple[float, int]]], unit: float) -> None:
    other = [study(points, f"study {index}", unit=unit) for index, points in enumerate(lists)]
    assert [s.hypervolume for s in compare(named(lists)).studies] == pytest.approx(
        [s.hypervolume for s in compare(other).studies]
    )


@given(st.lists(values, min_size=1, max_size=12), st.lists(values, max_size=12))
def test_more_trials_are_never_worse(points: list[tuple[float, int]], more: list[tuple[float, int]]) -> None:
    found = compare([study(points, "some"), study(points + more, "more")])
    some, all_of_them = found.studies
    assert all_of_them.hypervolume >= some.hypervolume
    assert all_of_them.covers["some"] == 1.0
    assert all_of_them.share == 1.0


def test_the_order_of_objectives_does_not_matter() -> None:
    one, points = study([(0.5, 3), (0.6, 4)], "one"), [(0.5, 2), (0.7, 5)]
    turned = study(points, "other", objectives=(FLOPS, ACCURACY))
    assert compare([one, turned]) == compare([one, study(points, "other")])


def test_a_study_with_no_complete_trial() -> None:
    unfinished = (TrialRecord(0, "RUNNING", flops=5), TrialRecord(1, "FAIL"))
    begun, done = compare([study([], "begun", unfinished=unfinished), study([(0.5, 3)], "done")]).studies
    assert begun.trials == dict.fromkeys(STATES, 0) | {"RUNNING": 1, "FAIL": 1}
    assert (begun.best_accuracy, begun.front_size, begun.hypervolume, begun.share) == (None, 0, 0.0, 0.0)
    assert (begun.covers, done.covers) == ({"done": 0.0}, {"begun": None})
    assert done.hypervolume == pytest.approx(1.0)


def test_diverged_trainings_do_not_spoil_the_scale() -> None:
    sound = [study([(0.5, 3), (0.6, 4)], "one"), study([(0.4, 2)], "other")]
    spoilt = [study([(0.5, 3), (0.6, 4), (nan, 3)], "one"), study([(0.4, 2), (-inf, 9)], "other")]
    assert [s.hypervolume for s in compare(spoilt).studies] == [s.hypervolume for s in compare(sound).studies]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"fingerprints": {"test": "a"}}, "'one' is scored on the validation images, 'other' on the test images"),
        ({"fingerprints": {"validation": "b"}}, "of 'one' have the fingerprint a, those of 'other' b"),
    ],
)
def test_accuracies_on_different_images_are_not_compared(said: dict[str, Any], message: str) -> None:
    one = study([(0.5, 3)], "one", fingerprints={"validation": "a"})
    with pytest.raises(InputError, match=message):
        compare([one, study([(0.5, 3)], "other", **said)])


def test_different_objectives_are_not_compared() -> None:
    one, other = study([], "one"), study([], "other", objectives=(ACCURACY, LOSS))
    with pytest.raises(InputError, match="'one' has max accuracy, min flops, 'other' max accuracy, min loss"):
        compare([one, other])


def test_one_study_is_no_comparison() -> None:
    with pytest.raises(InputError, match="two studies or more, not 1"):
        compare([study([], "one")])
    with pytest.raises(InputError, match="'one' is named twice"):
        compare([study([], "one"), study([], "one")])


def test_what_else_differs_is_told() -> None:
    images = {"fingerprints": {"validation": "a", "training": "b"}}
    one = study([], "one", epochs=9, config={"recipe": {"lr": 0.1}}, **images)
    same = study([], "same", epochs=9, config={"recipe": {"lr": 0.1}}, **images)
    assert compare([one, same]).notes == ()
    other = study([], "other", epochs=12, config={"recipe": {"lr": 0.2}}, **images)
    assert compare([one, other]).notes == (
        "The studies differ in the epochs of a trial.",
        "The studies differ in the recipe.",
    )
    assert compare([one, study([], "foreign")]).notes == (
        "It is not known which images give the accuracies of 'foreign'.",
    )
