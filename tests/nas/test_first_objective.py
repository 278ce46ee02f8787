"""A search whose best trial is not that of the highest accuracy."""

import json
from pathlib import Path

import pytest
from senas_command import Senas

pytestmark = pytest.mark.slow

MINE = """
def agreement(logits, labels):
    return float((logits.argmax(1) == labels).float().mean())
"""
OBJECTIVES = "search.objectives=[{name: agreement, direction: minimize, measure: 'mine:agreement'}, flops]"
"""The accuracy by another name, minimized: the best trial is the one of the lowest accuracy."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Senas:
    senas = Senas(tmp_path_factory.mktemp("first"))
    (senas.folder / "mine.py").write_text(MINE)
    words = ("search", "tiny.yaml", "--set", OBJECTIVES, "--set", "search.asha=null", "--set", "search.epochs=2")
    senas.ended = senas.run(*words, "--trials", "7")
    return senas


def test_search_export_show_and_report_name_the_same_trial(searched: Senas) -> None:
    records = searched.study().records
    lowest = min(record.objectives["agreement"] for record in records)
    best = searched.study().best()
    assert best.objectives["agreement"] == lowest < max(record.accuracy for record in records)
    assert best.accuracy == pytest.approx(lowest)
    assert f"best agreement {lowest:.4g}, " in searched.ended.stderr
    assert "best accuracy" not in searched.ended.stderr
    assert "--sort=agreement --limit 10" in searched.ended.stdout
    first = searched.run("trials", "tiny", "--sort=agreement", "--limit", "1", "--json")
    assert json.loads(first.stdout)[0]["objectives"]["agreement"] == lowest
    assert json.loads(searched.run("show", "tiny", "--json").stdout)["number"] == best.number
    page = (searched.folder / "runs" / "tiny" / "report.html").read_text()
    assert f"Recommended: trial {best.number}" in page
    without = [word for name in ("model.py", "model.pt2", "model.onnx") for word in ("--without", name)]
    exported = searched.run("export", "tiny", "-o", "best", *without).stdout
    assert f"Exported trial {best.number} (agreement {lowest:.4g}, validation accuracy {lowest:.4f})" in exported
    assert json.loads(Path(searched.folder / "best" / "metadata.json").read_text())["trial"] == best.number


def test_the_best_other_position_of_an_evaluation_is_that_of_the_first_objective(searched: Senas) -> None:
    from nas.cli.evaluating import _best_of

    records = [
        record for record in searched.study().baselines() if record.baseline not in ("no SE", "standard everywhere")
    ]
    worst = min(records, key=lambda record: record.objectives["agreement"])
    others = {record.baseline: record.architecture for record in records}
    assert len(others) > 1
    assert _best_of(others, "tiny", searched.storage) == worst.baseline
