"""The best trial of a study is that of its first objective, wherever one is named."""

import json
import math
from datetime import UTC, datetime

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

import results
from nas.cli import main
from results import TrialRecord
from results.best import best_of, value_text
from results.charts.axes import planes
from results.comparing import compare
from results.report import Report, recommend, render
from results.tables import Objective

values = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.inf, -math.inf, math.nan])
names = st.lists(st.sampled_from(["accuracy", "loss", "err", "flops", "latency"]), min_size=1, max_size=3, unique=True)


@st.composite
def made(draw: st.DrawFn) -> tuple[list[TrialRecord], tuple[Objective, ...]]:
    objectives = tuple(Objective(name, draw(st.booleans())) for name in draw(names))
    records = []
    for number in range(draw(st.integers(0, 8))):
        final = {objective.name: draw(values) for objective in objectives}
        state = draw(st.sampled_from(["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]))
        flops = draw(st.sampled_from([None, 10, 20]))
        records.append(TrialRecord(number, state, flops=flops, objectives=final if state == "COMPLETE" else {}))
    return records, objectives


@given(made())
def test_the_best_is_as_good_as_any_and_of_equal_ones_the_next_objective_decides(found) -> None:
    records, objectives = found
    left = [r for r in records if r.state == "COMPLETE" and math.isfinite(r.objectives[objectives[0].name])]
    best = best_of(records, objectives)
    if not left:
        assert best is None
        return
    for objective in objectives:
        known = [r.objectives[objective.name] for r in left if not math.isnan(r.objectives[objective.name])]
        if known:
            top = max(known) if objective.maximize else min(known)
            worst = -math.inf if objective.maximize else math.inf
            left = [r for r in left if r.objectives[objective.name] == top or (top == worst and known)]
    assert best in left
    cheapest = min((r.flops for r in left if r.flops is not None), default=None)
    assert best.number == min(r.number for r in left if r.flops == cheapest)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.booleans())
def test_of_one_objective_it_is_as_good_as_optunas(finals: list[int], maximize: bool) -> None:
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    study.add_trials([create_trial(value=float(value)) for value in finals])
    records = [TrialRecord(n, "COMPLETE", objectives={"err": float(value)}) for n, value in enumerate(finals)]
    best = best_of(records, [Objective("err", maximize)])
    assert best is not None
    assert best.objectives["err"] == study.best_value


POINTS = [(0.9, 0.4, 30), (0.7, 0.1, 20), (0.8, 0.3, 10)]
"""Accuracy, err and FLOPs: a different trial is the best in each."""


@pytest.mark.parametrize(
    ("objectives", "best", "shown"),
    [
        (("accuracy", "flops"), 0, "0.9000"),
        (("err", "flops"), 1, "0.1"),
        (("err", "accuracy"), 1, "0.1"),
        (("loss", "flops"), 1, "0.1"),
        (("flops", "accuracy"), 2, "10"),
    ],
)
@pytest.mark.parametrize("ours", [True, False])
def test_everything_goes_by_the_first_objective(url, new_study, report, capsys, objectives, best, shown, ours) -> None:
    if not ours and "accuracy" not in objectives:
        pytest.skip("a study of another program is read by its accuracy")
    for name in ("a study", "another"):
        study = new_study(name, objectives)
        if ours:
            study.set_user_attr("config", {"search": {"seed": 0}})
        study.set_user_attr("images", {"validation": 100})
        for accuracy, err, flops in POINTS:
            trial = study.ask()
            trial.set_user_attr("flops", flops)
            report(trial, accuracy, 1)
            given = {"accuracy": accuracy, "err": err, "loss": err, "flops": flops}
            study.tell(trial, [given[name] for name in objectives])
        study.tell(study.ask(), state=TrialState.FAIL)
    opened = results.open_study(url, "a study")
    assert opened.best().number == best
    found = recommend(opened)
    assert found.best.number == best
    assert (found.interval is not None) == (objectives[0] == "accuracy")
    page = render(Report(opened, (), "", datetime(2026, 1, 2, tzinfo=UTC)))
    assert f"Recommended: trial {best}" in page
    direction = "highest" if objectives[0] == "accuracy" else "lowest"
    named = "FLOPs" if objectives[0] == "flops" else objectives[0]
    assert f"the complete trial of {direction} {named}" in page
    assert planes(opened)[0][1] == objectives[0]
    summary, _ = results.studies(url)
    value = dict(zip(("accuracy", "err", "flops"), POINTS[best], strict=True)).get(objectives[0], POINTS[best][1])
    assert (summary.objective, summary.best_trial, summary.best_value) == (objectives[0], best, value)
    assert summary.best_accuracy == POINTS[best][0]
    comparison = compare([opened, results.open_study(url, "another")])
    assert [each.best_value for each in comparison.studies] == [value] * 2
    assert comparison.levels[-1].values == {"a study": value, "another": value}

    def said(*words: str) -> str:
        with pytest.raises(SystemExit):
            main([*words, "--storage", url])
        return capsys.readouterr().out

    heading, row, _ = said("studies").splitlines()
    assert f"best {objectives[0]}" in heading
    assert shown in row.split()
    assert json.loads(said("show", "a study", "--json"))["number"] == best
    assert f"best {objectives[0]}" in said("compare", "a study", "another")


def test_in_a_list_of_studies_of_several_kinds_each_says_what_its_best_is_of(url, new_study, capsys) -> None:
    new_study("ours").add_trial(create_trial(values=[0.5, 10]))
    optuna.create_study(storage=url, study_name="theirs").add_trial(create_trial(value=2.5))
    with pytest.raises(SystemExit):
        main(["studies", "--storage", url])
    heading, ours, theirs = capsys.readouterr().out.splitlines()
    assert " best  front " in heading
    assert "accuracy 0.5000" in ours
    assert "objective 0 2.5" in theirs


def test_ties_in_a_summary_are_decided_as_everywhere(url, new_study) -> None:
    study = new_study(metrics=("accuracy",))
    for accuracy, flops in ((0.5, 30), (0.5, 10), (0.4, 1)):
        study.add_trial(create_trial(value=accuracy, user_attrs={"flops": flops}))
    (summary,) = results.studies(url)
    assert summary.best_trial == results.open_study(url, "a study").best().number == 1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("accuracy", 0.5, "0.5000"), ("flops", 189248.0, "189,248"), ("err", 0.09333, "0.09333"), ("err", None, "")],
)
def test_values_as_text(name: str, value: float | None, text: str) -> None:
    assert value_text(name, value) == text
