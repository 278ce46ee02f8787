"""Searches that go on after their project was moved or copied to another folder."""

import shutil

import pytest

import results

pytestmark = pytest.mark.slow


def written_in(folder):
    """The files of a folder, with the times of their last changes."""
    return {file.relative_to(folder): file.stat().st_mtime_ns for file in folder.rglob("*")}


def test_a_copied_project_goes_on_beside_its_original(finished, tmp_path):
    before = written_in(finished.folder / "runs" / "tiny" / "checkpoints")
    copied = finished.copy(tmp_path / "copy")
    copied.run("search", "tiny.yaml", "--trials", "14")
    new = copied.study().trial(13)
    assert new.checkpoint == str(copied.folder / "runs" / "tiny" / "checkpoints" / "trial-00013")
    assert (copied.folder / "runs" / "tiny" / "checkpoints" / "trial-00013").is_dir()
    assert written_in(finished.folder / "runs" / "tiny" / "checkpoints") == before
    copied.export()
    results.load(copied.folder / "best")


def test_nothing_is_written_where_checkpoints_vanished(finished, tmp_path):
    moved = finished.copy(tmp_path / "first")
    moved.run("search", "tiny.yaml")  # which records the place that the project is moved away from
    shutil.move(moved.folder, tmp_path / "second")
    moved.folder = tmp_path / "second"
    moved.storage = f"sqlite:///{moved.folder / 'senas.db'}"
    shutil.move(moved.folder / "runs", tmp_path / "kept")
    before = moved.study().trials()
    refused = moved.run("search", "tiny.yaml", "--trials", "14", code=2).stderr
    assert str(tmp_path / "first" / "runs" / "tiny" / "checkpoints") in refused
    assert "--checkpoints DIR" in refused
    best = str(moved.study().best().number)
    refused = moved.run("export", "tiny", "-o", "best", "--trial", best, code=2).stderr
    assert "--checkpoints DIR" in refused
    assert not (tmp_path / "first").exists()
    assert moved.study().trials() == before

    export = ("export", "tiny", "-o", "best", "--trial", best, "--without", "model.onnx", "--without", "model.pt2")
    moved.run(*export, "--checkpoints", "../kept")
    moved.run("search", "tiny.yaml", "--trials", "14", "--checkpoints", "../kept")
    moved.run(*export, "--force")
    place = tmp_path / "kept" / "tiny" / "checkpoints" / "trial-00013"
    assert moved.study().trial(13).checkpoint == str(place)
    assert place.is_dir()
    assert not (tmp_path / "first").exists()


def test_a_copy_of_the_study_db_alone_does_not_write_among_the_originals_checkpoints(finished, tmp_path):
    copied = finished.copy(tmp_path / "copy")
    shutil.rmtree(copied.folder / "runs")
    refused = copied.run("search", "tiny.yaml", "--trials", "14", code=2).stderr
    assert f"is a copy of {finished.folder / 'senas.db'}" in refused
    copied.run("search", "tiny.yaml", "--trials", "14", "--checkpoints", "own")
    assert {folder.name for folder in (copied.folder / "own" / "tiny").iterdir()} == {"trial-00012", "trial-00013"}
    assert len(list((finished.folder / "runs" / "tiny" / "checkpoints").iterdir())) == 12
