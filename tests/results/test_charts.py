"""Charts: what is drawn of a study, and what of it is not; colours that can be told from their ground; the files."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import altair as alt
import optuna
import pytest
from PIL import Image

from results.analysis import Effect, HypervolumePoint, Importance, RungCorrelation
from results.charts.curves import curves
from results.charts.effects import effects
from results.charts.front import front
from results.charts.hypervolume import hypervolume, hypervolume_over_time, hypervolumes
from results.charts.importance import importance, importances
from results.charts.kinds import KINDS, chart
from results.charts.look import LIGHT, PALETTE, for_page
from results.charts.rungs import rungs
from results.charts.saving import save
from results.records import TrialRecord
from results.study import Study, open_study
from results.tables import Objective
from search_space.errors import InputError

IMPORTANCES = [
    Importance("accuracy", "layer1.position", 0.6, 0.7),
    Importance("accuracy", "layer1.0.ratio", 0.4, None),
    Importance("flops", "layer1.position", 0.9, 0.8),
]
EFFECTS = [
    Effect("SE at layer1", "SE", "no SE", 9, 12, 0.006, 0.002, 0.010),
    Effect("position", "pre", "standard", 9, 12, 0.001, -0.003, 0.005),
]
RUNGS = [RungCorrelation(1, 9, 17, 0.3, -0.2, 0.7), RungCorrelation(3, 9, 17, 0.8, 0.6, 0.9)]
GROWTH = [HypervolumePoint(number, None, number / 10) for number in range(5)]
BEGUN = datetime(2026, 3, 1, 22, tzinfo=UTC)
TIMED = [HypervolumePoint(hour, BEGUN + timedelta(hours=hour), hour / 10) for hour in range(4)]


def values(drawn: alt.TopLevelMixin | None, key: str) -> list[dict[str, Any]]:
    """The rows of the chart's data that have that key."""
    assert drawn is not None
    return [row for rows in drawn.to_dict()["datasets"].values() for row in rows if key in row]


def study_of(*records: TrialRecord, objectives: tuple[str, ...] = ("accuracy", "flops")) -> Study:
    named = tuple(Objective(name, name == "accuracy") for name in objectives)
    return Study("made", {}, named, records)


@pytest.fixture
def opened(searched: optuna.Study, url: str) -> Study:
    return open_study(url, "a study")


def test_the_front_has_every_complete_trial_and_no_other(opened: Study) -> None:
    drawn = {(row["number"], row["y"], row["x"]) for row in values(front(opened), "front")}
    complete = [record for record in opened.records if record.state == "COMPLETE"]
    assert drawn == {(record.number, record.accuracy, record.flops) for record in complete}
    members = {row["number"] for row in values(front(opened), "front") if row["front"]}
    assert members == {record.number for record in opened.front()}


def test_stopped_trials_stand_apart_where_they_are_asked_for(opened: Study) -> None:
    rows = values(front(opened, with_stopped=True), "front")
    stopped = {row["number"]: row["y"] for row in rows if row["kind"] == "stopped early"}
    with_a_number = [r for r in opened.records if r.state == "PRUNED" and not isnan(r.curve[-1])]
    assert stopped == {record.number: record.curve[-1] for record in with_a_number}


def test_the_stair_of_a_front_goes_through_what_it_dominates() -> None:
    """From a cheap trial to the right at its accuracy, then up: below and to the right all is dominated."""
    figures = ({"accuracy": 0.5, "flops": 10.0}, {"accuracy": 0.9, "flops": 20.0})
    members = [TrialRecord(n, "COMPLETE", is_pareto=True, objectives=each) for n, each in enumerate(figures)]
    drawn = front(study_of(*members))
    assert drawn is not None
    (stair,) = [layer for layer in drawn.to_dict()["layer"] if layer["mark"]["type"] == "line"]
    assert stair["mark"]["interpolate"] == "step-after"


def test_of_more_than_two_objectives_the_front_is_no_line() -> None:
    record = TrialRecord(0, "COMPLETE", accuracy=0.5, objectives={"accuracy": 0.5, "flops": 1.0, "latency": 2.0})
    drawn = front(study_of(record, objectives=("accuracy", "flops", "latency")), ("latency", "accuracy"))
    assert drawn is not None
    assert all(layer["mark"]["type"] != "line" for layer in drawn.to_dict()["layer"])
    assert [row["x"] for row in values(drawn, "front")] == [2.0]


def test_a_curve_is_drawn_as_it_was_recorded_and_ends_at_its_last_number(opened: Study) -> None:
    drawn = {row["number"]: row for row in values(curves(opened), "curve")}
    for record in opened.records:
        if not all(map(isnan, record.curve)):
            row = drawn[record.number]
            assert [None if isnan(value) else value for value in record.curve] == row["curve"]
            assert row["epochs"] == list(record.steps)
            assert row["epochs"][-1] == record.epochs
    assert set(drawn) <= {record.number for record in opened.records}
    diverged = TrialRecord(0, "PRUNED", curve=(0.1, 0.2, float("nan")), epochs=3)
    (end,) = values(curves(study_of(diverged)), "accuracy")
    assert (end["epoch"], end["accuracy"]) == (2, 0.2)


def test_one_score_after_the_last_epoch_stands_at_that_epoch() -> None:
    (row,) = values(curves(study_of(TrialRecord(0, "FAIL", curve=(0.9,), steps=(30,), epochs=30))), "accuracy")
    assert row["epoch"] == 30


def test_the_epochs_of_stops_have_their_numbers() -> None:
    records = [TrialRecord(n, "PRUNED", curve=(0.1,) * epochs, epochs=epochs) for n, epochs in enumerate((1, 1, 3))]
    records.append(TrialRecord(3, "PRUNED", curve=(0.1, 0.2), steps=(10, 30), epochs=30))
    labels = {row["epoch"]: row["label"] for row in values(curves(study_of(*records)), "label")}
    assert labels == {1: "2 out", 3: "1 out", 30: "1 out"}


def test_effects_are_in_points_and_those_that_may_be_nothing_look_it() -> None:
    first, second = values(effects(EFFECTS), "difference")
    assert (first["difference"], first["shown"]) == (pytest.approx(0.6), "clear of zero")
    assert (second["low"], second["shown"]) == (pytest.approx(-0.3), "may be nothing")


def test_effects_can_be_read_without_pointing_at_them(tmp_path: Path) -> None:
    """Against what a level is, and whole points that read as such."""
    wide = effects([Effect("variant", "slow_squeeze", "standard", 9, 12, -0.3, -0.4, 0.1)])
    assert wide is not None
    save(wide, tmp_path / "chart.svg")
    texts = {node.text for node in ElementTree.parse(tmp_path / "chart.svg").iter() if node.tag.endswith("text")}
    assert {"variant: slow_squeeze against standard", "+10", "\N{MINUS SIGN}40"} <= texts


def test_importances_are_each_objectives_own() -> None:
    assert {row["parameter"] for row in values(importance(IMPORTANCES, "flops"), "share")} == {"layer1.position"}
    assert len(values(importances(IMPORTANCES), "share")) == 5
    assert importance(IMPORTANCES, "latency") is None


def test_the_front_grows_over_time_as_far_as_it_is_known() -> None:
    timed = [*TIMED, HypervolumePoint(4, None, 0.4)]
    rows = values(hypervolume_over_time(timed), "x")
    assert [(row["x"], row["hypervolume"], row["ended"]) for row in rows] == [
        (0, 0.0, "2026-03-01 22:00:00 UTC"),
        (1, 0.1, "2026-03-01 23:00:00 UTC"),
        (2, 0.2, "2026-03-02 00:00:00 UTC"),
        (3, 0.3, "2026-03-02 01:00:00 UTC"),
    ]
    for points, unit in ((timed, "hours"), (timed[:2], "minutes")):
        drawn = hypervolume_over_time(points)
        assert drawn is not None
        assert f"{unit} since" in drawn.to_json()
    assert hypervolume_over_time(GROWTH) is None
    assert hypervolume_over_time(timed[:1]) is None
    assert [len(values(hypervolumes(points), "completed")) for points in (timed, GROWTH)] == [5 + 4, 5]


@pytest.mark.parametrize(
    "drawn",
    [importances(IMPORTANCES), effects(EFFECTS), rungs(RUNGS), hypervolume(GROWTH), hypervolumes(TIMED)],
    ids=["importance", "effects", "rungs", "hypervolume", "hypervolume over time"],
)
def test_each_is_a_picture(drawn: alt.TopLevelMixin, tmp_path: Path) -> None:
    save(drawn, tmp_path / "chart.png")
    colours = Image.open(tmp_path / "chart.png").convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert len(colours) > 20
    save(drawn, tmp_path / "chart.svg")
    assert ElementTree.parse(tmp_path / "chart.svg").getroot().tag.endswith("svg")


def test_a_page_gets_colours_by_name_and_its_data_as_they_are() -> None:
    blue = LIGHT["blue"]
    drawn = alt.Chart(alt.InlineData(values=[{"name": blue, "x": 1}])).mark_point(color=blue).encode(x="x:Q")
    spec = for_page(drawn.configure(background=LIGHT["paper"]))
    assert spec["mark"]["color"] == "var(--blue)"
    assert list(spec["datasets"].values()) == [[{"name": blue, "x": 1}]]


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_their_ground(shade: int) -> None:
    """By the ratios of WCAG 2.2: 4.5 for text (1.4.3), 3 for what a chart is read by (1.4.11)."""
    grounds = [_luminance(PALETTE[name][shade]) for name in ("paper", "panel")]
    for names, least in ((("ink", "muted", "blue"), 4.5), (("orange", "green", "pink"), 3.0)):
        for name in names:
            for ground in grounds:
                lighter, darker = sorted((_luminance(PALETTE[name][shade]), ground), reverse=True)
                assert (lighter + 0.05) / (darker + 0.05) >= least, name


def _luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    drawn = effects(EFFECTS)
    assert drawn is not None
    with pytest.raises(InputError, match=r"name it \.png or \.svg"):
        save(drawn, tmp_path / "chart.jpeg")
    with pytest.raises(InputError, match="cannot be written"):
        save(drawn, tmp_path / "nowhere" / "chart.svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_without_trials_has_nothing_to_draw(
    kind: str, url: str, new_study: Callable[..., optuna.Study]
) -> None:
    new_study()
    with pytest.raises(InputError, match=f"study 'a study' has no {kind} to draw: it takes"):
        chart(open_study(url, "a study"), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_a_study(kind: str, opened: Study) -> None:
    assert chart(opened, kind).to_dict()["config"]["font"]


def test_a_kind_that_does_not_exist_is_named(opened: Study) -> None:
    with pytest.raises(InputError, match="unknown kind of chart 'curve': did you mean 'curves'"):
        chart(opened, "curve")


def test_the_example_for_notebooks_is_right(searched: optuna.Study, url: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    *_, last = code.replace("sqlite:///senas.db", url).replace('"digits"', '"a study"').strip().splitlines()
    names: dict[str, Any] = {}
    exec(code[: code.rindex("front(")], names)
    assert eval(last, names).to_dict()["width"] == 900
