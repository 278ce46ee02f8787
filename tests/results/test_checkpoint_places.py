"""The place of a study's checkpoints after its project, its study DB or its checkpoints were moved or copied."""

import json
import shutil
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from results.checkpoint_places import among, locate, original_of, relocated
from results.study import checkpoints_of, open_study
from search_space import InputError

CURVES = {0: {1: 0.25, 2: 0.5}, 1: {1: 0.125}, 2: {}}


def write_checkpoints(root: Path, curves=CURVES) -> Path:
    for number, curve in curves.items():
        if curve:
            folder = root / f"trial-{number:05d}" / f"epoch-{max(curve):04d}"
            folder.mkdir(parents=True)
            entries = [{"epoch": epoch, "top1": accuracy} for epoch, accuracy in curve.items()]
            (folder / "state.json").write_text(json.dumps({"curve": entries}))
    return root


def make_study(file: Path, **attributes) -> str:
    url = f"sqlite:///{file}"
    study = optuna.create_study(storage=url, study_name="mine", directions=["maximize"])
    study.set_metric_names(["accuracy"])
    for curve in CURVES.values():
        study.add_trial(create_trial(state=TrialState.FAIL, intermediate_values=curve))
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    return url


def make_project(folder: Path, place: str = "runs/mine/checkpoints", *, old: bool = False, **config) -> Path:
    """A project whose study was begun in its folder; an old one does not record the study DB's file."""
    folder.mkdir(parents=True)
    root = write_checkpoints(folder / place)
    known = {} if old else {"database": str(folder / "senas.db")}
    make_study(
        folder / "senas.db", checkpoints=str(root), config={"output": "runs", "checkpoints": None} | config, **known
    )
    return folder


def place_in(project: Path) -> Path:
    place = checkpoints_of(f"sqlite:///{project / 'senas.db'}", "mine")
    assert place is not None
    return Path(place)


LAYOUTS = [
    {},
    {"place": "runs/mine/checkpoints-2"},
    {"place": "a/b/mine/checkpoints", "output": "a/b"},
    {"place": "kept/mine", "checkpoints": "kept"},
]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_a_whole_project_elsewhere_has_its_own_checkpoints(tmp_path, layout, old, how):
    project = make_project(tmp_path / "one" / "project", old=old, **layout)
    before = place_in(project)
    assert before == project / layout.get("place", "runs/mine/checkpoints")
    (tmp_path / "two").mkdir()
    other = Path(how(project, tmp_path / "two" / "renamed"))
    assert place_in(other) == other / before.relative_to(project)
    if how is shutil.copytree:
        assert place_in(project) == before


def test_an_absolute_output_inside_the_project_moves_with_it(tmp_path):
    project = make_project(tmp_path / "one", output=str(tmp_path / "one" / "runs"))
    other = Path(shutil.copytree(project, tmp_path / "two"))
    assert place_in(other) == other / "runs" / "mine" / "checkpoints"


@pytest.mark.parametrize("old", [False, True])
def test_checkpoints_outside_the_project_stay_where_they_are(tmp_path, old):
    shared = write_checkpoints(tmp_path / "shared" / "mine")
    project = make_project(tmp_path / "one", old=old, checkpoints=str(tmp_path / "shared"))
    optuna.load_study(storage=f"sqlite:///{project / 'senas.db'}", study_name="mine").set_user_attr(
        "checkpoints", str(shared)
    )
    other = Path(shutil.copytree(project, tmp_path / "two"))
    write_checkpoints(other / "mine")
    assert place_in(other) == shared


def test_a_url_is_left_as_it_is(tmp_path):
    url = make_study(tmp_path / "senas.db", checkpoints="s3://bucket/mine", database="/elsewhere/senas.db")
    assert checkpoints_of(url, "mine") == "s3://bucket/mine"


def test_a_study_db_that_moved_alone_has_its_checkpoints_where_they_were(tmp_path):
    project = make_project(tmp_path / "one")
    (tmp_path / "two").mkdir()
    shutil.move(project / "senas.db", tmp_path / "two" / "senas.db")
    assert place_in(tmp_path / "two") == project / "runs" / "mine" / "checkpoints"


def test_checkpoints_of_another_study_of_the_name_are_not_taken(tmp_path):
    project = make_project(tmp_path / "one")
    place = place_in(project)
    (tmp_path / "two").mkdir()
    shutil.copy(project / "senas.db", tmp_path / "two")
    write_checkpoints(tmp_path / "two" / "runs" / "mine" / "checkpoints", {0: {1: 0.375}, 1: {1: 0.75}})
    assert place_in(tmp_path / "two") == place
    shutil.rmtree(place)
    assert place_in(tmp_path / "two") == place


def test_one_epoch_that_was_trained_again_does_not_make_another_study(tmp_path):
    project = make_project(tmp_path / "one")
    state = project / "runs" / "mine" / "checkpoints" / "trial-00001" / "epoch-0001" / "state.json"
    state.write_text(json.dumps({"curve": [{"epoch": 1, "top1": 0.15}]}))
    other = Path(shutil.move(project, tmp_path / "two"))
    assert place_in(other) == other / "runs" / "mine" / "checkpoints"


def test_the_study_db_of_a_moved_project_may_lie_elsewhere(tmp_path, monkeypatch):
    project = make_project(tmp_path / "one")
    (tmp_path / "dbs").mkdir()
    shutil.move(project / "senas.db", tmp_path / "dbs")
    other = Path(shutil.move(project, tmp_path / "two"))
    monkeypatch.chdir(other)
    assert place_in(tmp_path / "dbs") == other / "runs" / "mine" / "checkpoints"


@pytest.mark.parametrize("above", [".", "..", "../.."])
def test_checkpoints_are_found_in_a_folder_that_is_named(tmp_path, above):
    project = make_project(tmp_path / "one")
    place = Path(shutil.move(project / "runs", tmp_path / "gone")) / "mine" / "checkpoints"
    url = f"sqlite:///{project / 'senas.db'}"
    study = open_study(url, "mine", checkpoints=(place / above).resolve())
    assert study.trial(0).checkpoint == str(place / "trial-00000")


def test_a_folder_without_the_studys_checkpoints_is_refused(tmp_path):
    project = make_project(tmp_path / "one")
    url = f"sqlite:///{project / 'senas.db'}"
    with pytest.raises(InputError, match=r"no checkpoints of study 'mine' in .*empty"):
        open_study(url, "mine", checkpoints=tmp_path / "empty")
    others = write_checkpoints(tmp_path / "others", {0: {1: 0.375}, 1: {1: 0.75}})
    with pytest.raises(InputError, match="are of other trials than those of study 'mine'"):
        open_study(url, "mine", checkpoints=others)
    assert among(str(tmp_path / "empty"), "mine", dict) is None


def test_a_copy_is_told_from_a_study_db_that_moved(tmp_path):
    project = make_project(tmp_path / "one")
    place = str(place_in(project))
    attributes = {"checkpoints": place, "database": str(project / "senas.db")}
    copy = tmp_path / "copy.db"
    shutil.copy(project / "senas.db", copy)
    assert original_of(attributes, f"sqlite:///{project / 'senas.db'}", "mine") is None
    assert original_of(attributes, f"sqlite:///{copy}", "mine") == project / "senas.db"
    assert original_of(attributes, f"sqlite:///{copy}", "another") is None
    assert original_of(attributes | {"checkpoints": "/elsewhere"}, f"sqlite:///{copy}", "mine") is None
    assert original_of(attributes, "postgresql://host/name", "mine") is None
    (project / "senas.db").write_text("no DB any more")
    assert original_of(attributes, f"sqlite:///{copy}", "mine") is None


def test_curves_are_read_only_where_another_folder_is_considered(tmp_path):
    project = make_project(tmp_path / "one")
    attributes = {"checkpoints": str(place_in(project)), "database": str(project / "senas.db")}
    assert locate(attributes, f"sqlite:///{project / 'senas.db'}", lambda: pytest.fail("read")) == str(
        place_in(project)
    )


def test_a_file_is_found_by_the_longest_ending_of_its_path(tmp_path):
    (tmp_path / "weights").mkdir()
    for file in (tmp_path / "weights" / "w.pt", tmp_path / "w.pt"):
        file.touch()
    assert relocated(Path("/gone/weights/w.pt"), tmp_path) == tmp_path / "weights" / "w.pt"
    assert relocated(Path("/gone/w.pt"), tmp_path) == tmp_path / "w.pt"
    assert relocated(Path("/gone/v.pt"), tmp_path) is None
