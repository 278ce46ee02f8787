"""The commands analyze and excitation, from files to files."""

import csv
import json
import random
import shutil
from dataclasses import asdict

import optuna
import pytest
import typer
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial
from safetensors.torch import save_file
from typer.testing import CliRunner

from nas.cli import analyzing
from nas.cli.excitation import excitation
from results.files import ARCHITECTURE, METADATA, WEIGHTS, sha256
from search_space import build
from search_space.architecture import Architecture, Backbone
from search_space.errors import InputError
from search_space.variants import Options, block
from trainers.data.config import DataConfig
from trainers.data.splits import search_splits

DATA = {"name": "digits", "validation": 0.25}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command in an empty folder and gives what it prints."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command("analyze")(analyzing.analyze)
    app.command("excitation")(excitation)

    def invoke(*words):
        result = CliRunner().invoke(app, [str(word) for word in words], env={"SENAS_STORAGE": None, "COLUMNS": "160"})
        if isinstance(result.exception, Exception):
            raise result.exception
        return result.stdout

    return invoke


@pytest.fixture(scope="module")
def study_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "senas.db"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{file}", study_name="colours", direction="maximize")
    study.set_metric_names(["accuracy"])
    draw = random.Random(0)
    for _ in range(22):
        chosen = {"colour": draw.choice(["red", "green"]), "size": draw.random()}
        accuracy = 0.5 * (chosen["colour"] == "red") + 0.1 * chosen["size"]
        study.add_trial(
            create_trial(
                params=chosen,
                distributions={
                    "colour": CategoricalDistribution(["red", "green"]),
                    "size": FloatDistribution(0, 1),
                },
                value=accuracy,
                intermediate_values={epoch: accuracy * epoch / 3 for epoch in (1, 2, 3)},
            )
        )
    return file


@pytest.fixture
def study(study_file, tmp_path):
    shutil.copy(study_file, tmp_path / "senas.db")


def test_analyze_shows_what_its_json_says(run, study):
    said = json.loads(run("analyze", "colours", "--json"))
    assert said.keys() == {"importances", "effects", "rungs", "hypervolume", "notes"}
    assert said["importances"][0]["parameter"] == "colour"
    assert [row["epoch"] for row in said["rungs"]] == [1, 2]
    assert len(said["hypervolume"]) == 22
    shown = run("analyze", "colours")
    assert "Which parameters matter for accuracy" in shown
    assert all(note in shown for note in said["notes"])
    assert f"{said['importances'][0]['fanova']:.3f}" in shown
    assert shown.index("rho") < shown.index("hypervolume") < shown.index(said["notes"][0])


def test_analyze_changes_nothing_in_the_db(run, study, tmp_path):
    before = (tmp_path / "senas.db").read_bytes()
    run("analyze", "colours")
    assert (tmp_path / "senas.db").read_bytes() == before


def test_an_epoch_that_nobody_reached_is_refused(run, study):
    assert "after epoch 2 of 3" in run("analyze", "colours", "--epoch", 2)
    with pytest.raises(InputError, match="epoch 4: the nearest recorded is 3"):
        run("analyze", "colours", "--epoch", 4)


SITES = (("layer1.0", block("standard", "post", 8, Options(ratio=4))), ("layer3.0", block("simam", "pre", 16)))


def an_export(folder, sites=SITES, **metadata):
    """What `senas export` writes, as far as it is looked at here, of a network that never was trained."""
    backbone = Backbone("resnet8", 10, (1, 8, 8), options=(("width", 8),))
    architecture = Architecture(backbone, sites)
    folder.mkdir()
    save_file(build(architecture).state_dict(), folder / WEIGHTS)
    (folder / ARCHITECTURE).write_text(architecture.to_yaml())
    sums = {name: sha256(folder / name) for name in (ARCHITECTURE, WEIGHTS)}
    said = {"study": "digits", "config": None, "sha256": sums, "data": DATA, **metadata}
    (folder / METADATA).write_text(json.dumps(said))
    return folder


@pytest.fixture
def export(tmp_path):
    normalisation = asdict(search_splits(DataConfig(**DATA)).normalization)
    return an_export(tmp_path / "export", normalisation=normalisation)


def test_excitation_writes_pictures_numbers_and_scores(run, export, tmp_path):
    said = json.loads(run("excitation", export, "-o", "gates", "--classes", "3,8", "--json"))
    names = [
        "excitation.csv",
        "excitation.json",
        *(f"{name}.{kind}" for name in ("layer1-0", "layer3-0", "overview") for kind in ("png", "svg")),
    ]
    assert said["files"] == sorted(names)
    assert {file.name for file in (tmp_path / "gates").iterdir()} == set(names)
    assert json.loads((tmp_path / "gates" / "excitation.json").read_text()) == said
    assert (tmp_path / "gates" / "overview.png").read_bytes().startswith(b"\x89PNG")
    assert [(b["site"], b["channels"], b["images"]) for b in said["blocks"]] == [
        ("layer1.0", 8, 360),
        ("layer3.0", 16, 360),
    ]
    assert (said["split"], said["classes"], len(said["notes"])) == ("validation", ["3", "8"], 1)
    with (tmp_path / "gates" / "excitation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (8 + 16) * 3
    of_block = [row for row in rows if row["site"] == "layer1.0" and not row["class"]]
    mean = sum(float(row["mean"]) for row in of_block) / 8
    assert mean == pytest.approx(said["blocks"][0]["mean"])


def test_a_second_run_takes_the_place_of_the_first_and_of_nothing_else(run, export, tmp_path):
    folder = tmp_path / "gates"
    run("excitation", export, "-o", "gates", "--classes", "0")
    listed = json.loads((folder / "excitation.json").read_text())
    (folder / "layer9-0.png").write_text("of an earlier network")
    with pytest.raises(InputError, match=r"gates holds layer9-0\.png, which is not of an earlier run"):
        run("excitation", export, "-o", "gates", "--classes", "0")
    written = json.dumps(listed | {"files": [*listed["files"], "layer9-0.png"]})
    (folder / "excitation.json").write_text(written)
    run("excitation", export, "-o", "gates", "--classes", "1")
    said = json.loads((folder / "excitation.json").read_text())
    assert {file.name for file in folder.iterdir()} == set(said["files"]) == set(listed["files"])
    assert said["classes"] == ["1"]
    assert {file.name for file in tmp_path.iterdir()} == {"gates", "export"}


DIGITS = [f"no. {digit}" for digit in range(10)]


def test_classes_go_by_the_names_that_the_export_has(run, tmp_path):
    export = an_export(tmp_path / "export", class_names=DIGITS)
    said = json.loads(run("excitation", export, "-o", "gates", "--json", "--classes", "no. 3,8"))
    assert said["classes"] == ["no. 3", "no. 8"]
    (note,) = [note for note in said["notes"] if "names" in note]
    assert "class 0 is 'no. 0' of the network and '0' of the data" in note
    with (tmp_path / "gates" / "excitation.csv").open() as file:
        assert {row["class"] for row in csv.DictReader(file)} == {"", "no. 3", "no. 8"}


def test_classes_in_another_order_are_matched_by_name(run, export, tmp_path):
    names = [str(digit) for digit in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)]
    permuted = an_export(tmp_path / "permuted", class_names=names)

    def means(folder, source):
        said = json.loads(run("excitation", source, "-o", folder, "--json", "--classes", "all"))
        with (tmp_path / folder / "excitation.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["class"]]
        return said, {(row["site"], row["channel"], row["class"]): row["mean"] for row in rows}

    said, by_name = means("gates", permuted)
    assert said["classes"] == names
    assert by_name == means("own", export)[1]


def test_weights_that_saw_the_validation_images_are_studied_on_the_test_images(run, tmp_path):
    export = an_export(tmp_path / "export", weights={"trained_on": "training and validation images"})
    said = json.loads(run("excitation", export, "-o", "gates", "--json", "--classes", "0"))
    assert (said["split"], said["blocks"][0]["images"]) == ("test", 359)


def test_data_can_be_given_by_key_file_or_folder(run, export, tmp_path, tiny_grey_images):
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"name": "digits", "validation": 0.5}))
    given = ("--data", "data.yaml", "--data", "limit=200")
    said = json.loads(run("excitation", export, "-o", "gates", "--classes", "0", *given, "--json"))
    assert said["blocks"][0]["images"] == 100
    assert (said["data"]["validation"], said["data"]["limit"]) == (0.5, 200)
    with pytest.raises(InputError, match="takes images of 1 x 8 x 8, and imagefolder has them of 3 x 8 x 8"):
        run("excitation", export, "-o", "c", "--data", tiny_grey_images)


@pytest.fixture
def tiny_grey_images(tmp_path):
    for label in range(10):
        (tmp_path / "images" / "train" / str(label)).mkdir(parents=True)
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "limits=3"], "data: unknown key 'limits'"),
        (["--data", "nowhere.yaml"], "no data file nowhere.yaml"),
        (["--data", "name=mnist", "--data", "root=."], "takes images of 1 x 8 x 8"),
        (["--classes", "cat"], "unknown class 'cat'"),
        (["--data", "root=nowhere"], "digits comes with a library and lies in no folder: leave out root=nowhere"),
        (["-o", "export"], "export holds architecture.yaml, which is not of an earlier run"),
        (["-o", "export/model.safetensors"], "is a file: name a directory"),
    ],
)
def test_what_is_wrong_is_named_and_leaves_nothing(run, export, tmp_path, words, message):
    with pytest.raises(InputError, match=message):
        run("excitation", export, "-o", "gates", *words)
    assert list(tmp_path.iterdir()) == [export]


def test_a_network_without_blocks_leaves_no_folder(run, tmp_path):
    export = an_export(tmp_path / "export", sites=())
    with pytest.raises(InputError, match="has no SE block"):
        run("excitation", export, "-o", "deep/gates")
    assert list(tmp_path.iterdir()) == [export]


def test_damaged_metadata_are_named(run, tmp_path):
    export = an_export(tmp_path / "export", normalisation={"mean": [1, 2], "std": "much"})
    with pytest.raises(InputError, match="normalisation must be of 1 channels"):
        run("excitation", export, "-o", "gates")
    nameless = an_export(tmp_path / "nameless", data=None)
    with pytest.raises(InputError, match="does not say which data it is for"):
        run("excitation", nameless, "-o", "gates")
