"""The report: what it recommends and how sure that is, that nothing in a study can harm who opens it, odd studies."""

import json
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from scipy import stats

from results.records import TrialRecord
from results.report import Report, evaluations_of, recommend, render
from results.report.recommendation import wilson
from results.study import Study, open_study
from results.tables import Objective
from search_space.architecture import Architecture, Backbone

HOSTILE = "</script><img src=x onerror=alert(1)>'\"&{{ 7 * 7 }}"


class Page(HTMLParser):
    """What an HTML parser makes of a page: its tags, its text, and its data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._data = ""
        self._inside = ""
        self.feed(text)
        self.data: dict[str, Any] = json.loads(self._data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = "data" if dict(attrs).get("id") == "data" else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self._data += data
        elif self._inside not in ("script", "style"):
            self.text += " ".join(data.split()) + " "

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def page_of(url: str, name: str = "a study") -> Page:
    study = open_study(url, name)
    found = recommend(study)
    evaluations = evaluations_of(url, found.best.architecture_id if found else None)
    return Page(render(Report(study, evaluations, "", datetime(2026, 1, 2, tzinfo=UTC))))


# The answer


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counted: tuple[int, int]) -> None:
    right, images = counted
    known = stats.binomtest(right, images).proportion_ci(method="wilson")
    assert wilson(right / images, images) == pytest.approx((known.low, known.high), abs=1e-6)


@pytest.mark.parametrize(
    "said", [{}, {"images": {"test": 360}}, {"images": {"validation": "many"}}, {"images": HOSTILE}]
)
def test_a_study_that_does_not_say_how_many_images_has_no_interval(said: dict[str, Any]) -> None:
    record = TrialRecord(0, "COMPLETE", accuracy=0.5, objectives={"accuracy": 0.5})
    found = recommend(Study("made", said, (Objective("accuracy", True),), [record]))
    assert found is not None
    assert found.images is found.interval is found.cheaper is None


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_cheaper_one_is_the_cheapest_that_the_interval_takes_in(figures: list[tuple[int, int]]) -> None:
    records = tuple(
        TrialRecord(n, "COMPLETE", accuracy=a / 40, flops=f, objectives={"accuracy": a / 40, "flops": float(f)})
        for n, (a, f) in enumerate(figures)
    )
    objectives = (Objective("accuracy", True), Objective("flops", False))
    study = Study("made", {"images": {"training": 9, "validation": 40}}, objectives, records)
    found = recommend(study)
    assert found is not None
    assert found.best == study.best()
    assert found.interval is not None
    near = [r.flops for r in records if r.accuracy is not None and r.accuracy >= found.interval[0] and r.flops]
    cheapest = min(near)
    assert (found.cheaper.flops if found.cheaper else found.best.flops) == cheapest


def test_the_page_recommends_what_export_takes(searched: optuna.Study, url: str) -> None:
    page = page_of(url)
    best = open_study(url, "a study").best()
    assert best is not None
    assert f"Recommended: trial {best.number}" in page.text
    assert f"{best.accuracy:.4f}" in page.text
    assert "senas evaluate best --baselines" in page.text
    assert page.count("svg") == 1
    assert {str(n) for n in range(len(searched.trials))} == set(page.data["trials"])


def test_a_final_evaluation_has_its_say(searched: optuna.Study, url: str, new_study: Callable[..., Any]) -> None:
    best = open_study(url, "a study").best()
    assert best is not None
    evaluation = new_study("its evaluation")
    evaluation.set_user_attr("config", {"search": {"sampler": "tpe", "seed": 0}})
    evaluation.set_user_attr("fingerprints", {"training": "1", "test": "2"})
    for label, accuracies in ((None, (0.90, 0.91, 0.92)), (HOSTILE, (0.80, 0.82, 0.81))):
        for seed, accuracy in enumerate(accuracies):
            attributes = {"architecture_id": best.architecture_id if label is None else "other", "flops": 10}
            evaluation.add_trial(
                create_trial(
                    values=[accuracy, 10],
                    params={"seed": seed},
                    distributions={"seed": optuna.distributions.IntDistribution(0, 9)},
                    user_attrs=attributes | ({} if label is None else {"baseline": label}),
                )
            )
    page = page_of(url)
    assert "The winner is better than" in page.text
    assert "0.9100 ± 0.0100" in page.text
    assert "senas evaluate best" not in page.text
    assert page.count("img") == 0
    itself = page_of(url, "its evaluation")
    assert "A final evaluation" in itself.text
    assert "Recommended" not in itself.text
    assert "senas evaluate DIR --baselines --seeds 3" in itself.text
    assert "seeds 0, 1, 2" in itself.text
    assert "senas search" not in itself.text
    assert "sampler tpe" not in itself.text


def test_an_evaluation_of_the_winner_alone_shows_it_better_than_nothing(
    searched: optuna.Study, url: str, new_study: Callable[..., optuna.Study]
) -> None:
    best = open_study(url, "a study").best()
    assert best is not None
    evaluation = new_study("trained in full")
    evaluation.set_user_attr("config", {})
    evaluation.set_user_attr("fingerprints", {"test": "2"})
    evaluation.add_trial(
        create_trial(
            values=[0.9, 10],
            params={"seed": 7},
            distributions={"seed": optuna.distributions.IntDistribution(0, 9)},
            user_attrs={"architecture_id": best.architecture_id},
        )
    )
    page = page_of(url)
    assert "There is no baseline to compare the winner with." in page.text
    assert "senas evaluate best --baselines --seeds 5" in page.text
    assert "with one seed" in page.text


# Nothing in a study can harm who opens it


def test_the_page_needs_nothing_beside_it(searched: optuna.Study, url: str) -> None:
    page = page_of(url)
    loads = {"src", "srcset", "data", "poster", "action", "formaction"}
    for tag, attributes in page.tags:
        assert not loads & attributes.keys(), tag
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert attributes.get("href") is None


def test_text_from_a_study_is_text(url: str, new_study: Callable[..., optuna.Study], backbone: Backbone) -> None:
    study = new_study(HOSTILE, ("accuracy", HOSTILE))
    study.set_user_attr("config", {"backbone": {"name": HOSTILE}, "data": {"name": HOSTILE}, HOSTILE: HOSTILE})
    study.set_user_attr("runs", [{"started": HOSTILE, "versions": {HOSTILE: HOSTILE}}])
    study.set_user_attr("fingerprints", {HOSTILE: HOSTILE})
    architecture = Architecture(Backbone(HOSTILE, 10, (1, 8, 8)), ()).to_dict()
    for state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED):
        study.add_trial(
            create_trial(
                state=state,
                values=[0.5, 1.0] if state == TrialState.COMPLETE else None,
                params={HOSTILE: HOSTILE},
                distributions={HOSTILE: optuna.distributions.CategoricalDistribution([HOSTILE, "b"])},
                intermediate_values={1: 0.5},
                user_attrs={"baseline": HOSTILE, "fail_reason": HOSTILE, "architecture": architecture, "flops": 5},
            )
        )
    page = page_of(url, HOSTILE)
    assert page.count("img") == 0
    assert page.count("script") == 3
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count(HOSTILE) > 5
    assert f"senas export {shlex.quote(HOSTILE)} -o best" in page.text
    assert "49" not in page.text
    assert page.data["trials"]["1"]["reason"] == HOSTILE


# Odd studies


def test_classes_are_named_and_a_clicked_trial_shows_each(searched: optuna.Study, url: str) -> None:
    searched.set_user_attr("class_names", [HOSTILE, "dog\n", "\ud800"])
    (trial, *_) = [trial for trial in searched.trials if trial.state == TrialState.COMPLETE]
    ending = trial.user_attrs["ending"] | {"class_accuracies": [1.0, 0.123456, None]}
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db, db:  # Optuna does not change what has ended
        db.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'ending' AND trial_id = ?",
            (json.dumps(ending), trial._trial_id),
        )
    page = page_of(url)
    assert page.count("img") == 0
    assert f"classes 3: {HOSTILE[:39]}…, dog\\n, \\ud800" in page.text
    assert page.data["classes"] == [f"{HOSTILE[:39]}…", "dog\\n", "\\ud800"]
    assert page.data["trials"][str(trial.number)]["by_class"] == [1.0, 0.1235, None]


def test_many_classes_are_counted(searched: optuna.Study, url: str) -> None:
    searched.set_user_attr("class_names", [f"n{number:08}" for number in range(1000)])
    page = page_of(url)
    assert "1000: n00000000, n00000001" in page.text
    assert "and 980 more" in page.text
    assert page.data["classes"] == []


def test_an_empty_study_says_so(url: str, new_study: Callable[..., optuna.Study]) -> None:
    new_study()
    page = page_of(url)
    assert "No answer yet" in page.text
    assert "senas did not make this study" in page.text
    assert page.data == {"charts": {}, "classes": [], "trials": {}}


def test_a_running_search_is_shown_as_far_as_it_is(searched: optuna.Study, url: str) -> None:
    assert "The search has not ended" in page_of(url).text  # one trial waits


def test_a_study_of_others_is_reported(url: str, new_study: Callable[..., optuna.Study]) -> None:
    """Neither architectures nor curves, three objectives, and attributes that mean something else."""
    study = new_study(metrics=("accuracy", "flops", "latency"))
    for name in ("runs", "fingerprints", "epochs"):
        study.set_user_attr(name, {} if name == "fingerprints" else [])
    for accuracy, flops, latency in ((0.5, 10, 0.3), (0.7, 20, 0.2), (0.6, 30, float("inf"))):
        study.add_trial(
            create_trial(
                values=[accuracy, flops, latency],
                params={"lr": accuracy},
                distributions={"lr": optuna.distributions.FloatDistribution(0, 1)},
            )
        )
    page = page_of(url)
    assert {"front-0", "front-1"} <= page.data["charts"].keys()
    assert page.data["trials"]["2"]["objectives"]["latency"] is None
    assert page.data["trials"]["1"]["parameters"] == {"lr": 0.7}
    assert page.count("svg") == 0
    for untrue in (
        "senas export",
        "senas evaluate",
        "ASHA",
        "One seed",
        "the baselines:",
        "latency, s",
        "senas search",
    ):
        assert untrue not in page.text


def test_what_is_no_finite_number_is_not_recommended() -> None:
    records = [
        TrialRecord(number, "COMPLETE", accuracy=accuracy, objectives={"accuracy": accuracy})
        for number, accuracy in enumerate((float("inf"), 0.5, 0.7, float("-inf")))
    ]
    found = recommend(Study("made", {}, (Objective("accuracy", True),), records))
    assert found is not None
    assert found.best.number == 2
    assert recommend(Study("made", {}, (Objective("accuracy", True),), records[::3])) is None


def test_accuracies_in_percent_are_not_taken_for_shares(url: str, new_study: Callable[..., optuna.Study]) -> None:
    study = new_study(metrics=("accuracy",))
    study.set_user_attr("images", {"validation": 100})
    for accuracy in (91.5, 90.0):
        study.add_trial(create_trial(values=[accuracy], user_attrs={"baseline": "theirs"}))
    page = page_of(url)
    assert "of unknown uncertainty" in page.text
    assert "-1.5 " in page.text
    assert "points" not in page.text
    assert "No complete trial" not in page.text


def test_failures_are_counted_by_reason(searched: optuna.Study, url: str) -> None:
    page = page_of(url)
    failed = sum(trial.state == TrialState.FAIL for trial in searched.trials)
    assert f"{failed} CUDA out of memory" in page.text


def test_an_architecture_that_cannot_be_built_is_not_drawn_and_it_says_why(
    url: str, new_study: Callable[..., optuna.Study]
) -> None:
    study = new_study()
    architecture = Architecture(Backbone("resnet9000", 10, (1, 8, 8)), ()).to_dict()
    study.add_trial(create_trial(values=[0.5, 1], user_attrs={"architecture": architecture, "architecture_id": "x"}))
    page = page_of(url)
    assert "It is not drawn: unknown backbone 'resnet9000'" in page.text
