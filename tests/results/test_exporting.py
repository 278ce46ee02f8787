import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exports import (
    ATTRIBUTES,
    CLASS_NAMES,
    mixed_architecture,
    quick_export,
    sign_again,
    study_of,
    trained_network,
    trial_of,
)
from safetensors.torch import save_file

import results
from results import Study, TrialRecord
from results.export_readme import readme
from results.exporting import Training
from results.programs import FORMATS, Format
from results.verifying import VerificationError
from search_space import Architecture, Backbone, InputError, build

FILES = {
    *("architecture.yaml", "model.safetensors", "model.py", "model.pt2", "model.onnx"),
    *("metadata.json", "README.md"),
}


@pytest.fixture(scope="module")
def architecture(backbone: Backbone) -> Architecture:
    return mixed_architecture(backbone)


@pytest.fixture(scope="module")
def trained(architecture: Architecture) -> torch.nn.Module:
    return trained_network(architecture)


@pytest.fixture
def trial(architecture: Architecture, trained: torch.nn.Module, tmp_path: Path) -> TrialRecord:
    return trial_of(architecture, trained, tmp_path / "checkpoint")


@pytest.fixture
def study(trial: TrialRecord) -> Study:
    return study_of(trial)


@pytest.fixture(scope="module")
def whole(architecture: Architecture, trained: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with all of its files, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("whole")
    trial = trial_of(architecture, trained, folder / "checkpoint")
    study = study_of(trial, attributes=ATTRIBUTES | {"class_names": CLASS_NAMES})
    return results.export(study, trial, folder / "best")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "best"


def nothing_half_made(target: Path) -> bool:
    return not target.parent.exists() or list(target.parent.iterdir()) in ([], [target])


@pytest.mark.slow
def test_what_is_loaded_is_what_was_trained_bit_for_bit(whole, trained, architecture) -> None:
    model = results.load(whole)
    assert not model.training
    wanted = trained.state_dict()
    assert model.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in model.state_dict().items())
    images = torch.randn(4, *architecture.backbone.input_size)
    assert torch.equal(model(images), trained(images))


@pytest.mark.slow
def test_the_files_of_an_export(whole, architecture) -> None:
    assert {path.name for path in whole.iterdir()} == FILES
    assert {path.name for path in whole.parent.iterdir()} == {"best", "checkpoint"}
    assert Architecture.from_yaml((whole / "architecture.yaml").read_text()) == architecture
    metadata = json.loads((whole / "metadata.json").read_text())
    checksums = metadata.pop("sha256")
    assert checksums == {
        name: hashlib.sha256((whole / name).read_bytes()).hexdigest() for name in FILES - {"metadata.json"}
    }
    assert metadata.pop("exported_with")["torch"] == torch.__version__.partition("+")[0]
    differences = metadata["verified"].pop("largest_difference")
    assert differences.keys() == {"model.safetensors", "model.py", "model.pt2", "model.onnx"}
    assert differences["model.safetensors"] == differences["model.py"] == 0
    assert all(difference < 1e-5 for difference in differences.values())
    assert metadata == {
        "study": "a study",
        "trial": 7,
        "state": "COMPLETE",
        "architecture_id": architecture.id,
        "objectives": {"accuracy": 0.875, "flops": 1234567.0},
        "flops": 1234567,
        "params": 4321,
        "epochs": 3,
        "weights": {
            "study": "a study",
            "trial": 7,
            "state": "COMPLETE",
            "epochs": 3,
            "seed": 4,
            "recipe": {"lr": 0.1},
            "trained_on": "training images",
            "scored_on": "validation images",
            "accuracy": 0.875,
        },
        "data": {"name": "digits"},
        "class_names": CLASS_NAMES,
        "config": {"data": {"name": "digits"}, "recipe": {"lr": 0.1}, "search": {"seed": 4}},
        "normalisation": {"mean": [0.5], "std": [0.25]},
        "versions": {"torch": "2.15"},
        "onnx_opset": 18,
        "verified": {"batch_sizes": [1, 2, 5], "tolerance": {"absolute": 1e-4, "relative": 1e-4}},
    }
    readme = (whole / "README.md").read_text()
    assert 'results.load("best")' in readme
    assert "87.50% top-1 on the validation images" in readme
    assert "1,234,567 multiply-adds" in readme


@pytest.mark.slow
def test_every_way_of_loading_in_the_readme_runs(whole, trained, architecture, monkeypatch) -> None:
    """And what it gives is what the network gives, for batches of sizes that nothing was verified with."""
    monkeypatch.chdir(whole.parent)
    names: dict[str, Any] = {}
    ways = (whole / "README.md").read_text().split("```python\n")[1:]
    assert len(ways) == 5
    for way in ways:
        exec(way.split("```")[0], names)
        for count in (3, 8):
            images = torch.randn(count, *architecture.backbone.input_size)
            with torch.no_grad():
                given = torch.from_numpy(names["run"](images.numpy())) if "run" in names else names["model"](images)
                torch.testing.assert_close(given, trained(images), rtol=1e-4, atol=1e-4)
    logits = torch.eye(10).flip(0)
    assert names["predicted"](logits) == names["predicted"](logits.numpy()) == CLASS_NAMES[::-1]
    assert names["features"].channels == {"layer1": 8, "layer2": 16, "layer3": 32}


@pytest.mark.slow
def test_every_file_knows_the_names_of_the_classes(whole) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(whole / "model.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == CLASS_NAMES
    extra = {"class_names": ""}
    torch.export.load(whole / "model.pt2", extra_files=extra)
    assert json.loads(extra["class_names"]) == CLASS_NAMES
    assert results.load(whole).class_names == tuple(CLASS_NAMES)
    block = (whole / "README.md").read_text().split("```text\n")[1].split("\n```")[0]
    assert [json.loads(line.partition("  ")[2]) for line in block.splitlines()] == CLASS_NAMES
    assert all(character.isprintable() for line in block.split("\n") for character in line)


@pytest.mark.slow
def test_no_path_of_this_machine_and_no_pickle_is_in_an_export(whole) -> None:
    here = str(Path(results.__file__).parent.parent).encode()
    assert not any(here in file.read_bytes() for file in whole.iterdir())
    with zipfile.ZipFile(whole / "model.pt2") as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert here not in content, name
            is_pickle = content.startswith(b"\x80") and content.endswith(b".")
            assert not (is_pickle or content.startswith(b"PK\x03\x04")), name  # the second is what torch.save writes


@pytest.mark.parametrize("names", [None, "cat", [], ["a"] * 9, [1] * 10, {"0": "a"}])
def test_names_that_are_not_those_of_the_networks_classes_are_left_out(trial, target, names: object) -> None:
    attributes = ATTRIBUTES if names is None else ATTRIBUTES | {"class_names": names}
    folder = quick_export(study_of(trial, attributes=attributes), trial, target)
    assert json.loads((folder / "metadata.json").read_text())["class_names"] is None
    assert results.load(folder).class_names is None
    assert "class" not in (folder / "README.md").read_text()


def test_a_training_in_full_from_before_names_were_recorded_has_those_of_the_search(
    study, trial, architecture, target, tmp_path
) -> None:
    again = trial_of(architecture, build(architecture, seed=8).eval(), tmp_path / "again")
    evaluation = study_of(again, "final", ATTRIBUTES | {"fingerprints": {"test": "x"}})
    search = study_of(trial, attributes=ATTRIBUTES | {"class_names": CLASS_NAMES})
    quick_export(search, trial, target, retrain=lambda: Training(evaluation, again))
    assert results.load(target).class_names == tuple(CLASS_NAMES)


def test_of_many_classes_the_first_are_listed() -> None:
    wide = Architecture(Backbone("resnet8", 300, (1, 8, 8), options=(("width", 8),)))
    names = [f"class {number}" for number in range(300)]
    weights = dict.fromkeys(("trial", "study", "epochs", "trained_on", "accuracy"))
    verified = {"largest_difference": {"model.safetensors": 0.0}}
    metadata = {"trial": 1, "study": "s", "flops": 1, "params": 1, "weights": weights, "verified": verified}
    text = readme("best", wide, metadata | {"class_names": names})
    assert "(the first 20 of 300)" in text
    assert '19  "class 19"' in text
    assert "class 20" not in text
    assert "model.onnx" not in text


def test_an_empty_directory_is_used(study, trial, target) -> None:
    target.mkdir(parents=True)
    quick_export(study, trial, target)
    assert (target / "metadata.json").is_file()
    assert nothing_half_made(target)


def test_an_earlier_export_is_replaced_only_by_force(study, trial, target) -> None:
    quick_export(study, trial, target)
    with pytest.raises(InputError, match="is not empty"):
        quick_export(study, trial, target)
    quick_export(study, replace(trial, flops=9), target, force=True)
    assert json.loads((target / "metadata.json").read_text())["flops"] == 9
    assert nothing_half_made(target)


def test_force_does_not_delete_what_others_put_into_an_export(study, trial, target) -> None:
    quick_export(study, trial, target)
    (target / "finetuned.pt").touch()
    with pytest.raises(InputError, match=r"holds finetuned\.pt, which is none of an export's files"):
        quick_export(study, trial, target, force=True)
    assert (target / "finetuned.pt").exists()


def test_a_target_that_cannot_be_made_is_told_before_anything_is_trained(study, trial, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be made: .*file is a file"):
        results.export(study, trial, tmp_path / "file" / "sub" / "best", retrain=lambda: pytest.fail("trained"))


def test_force_does_not_delete_what_is_no_export(study, trial, target) -> None:
    target.mkdir(parents=True)
    (target / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"holds thesis\.tex, which is none of"):
        quick_export(study, trial, target, force=True)
    assert (target / "thesis.tex").exists()


def test_a_file_is_no_directory(study, trial, target) -> None:
    target.parent.mkdir()
    target.touch()
    with pytest.raises(InputError, match="is a file"):
        quick_export(study, trial, target, force=True)


def test_a_pruned_trial_has_to_be_allowed(study, trial, target) -> None:
    pruned = replace(trial, state="PRUNED", accuracy=None, objectives={})
    with pytest.raises(InputError, match="trial 7 is PRUNED: it was stopped after 3 epochs"):
        quick_export(study, pruned, target)
    quick_export(study, pruned, target, allow_pruned=True)
    assert json.loads((target / "metadata.json").read_text())["state"] == "PRUNED"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "RUNNING"}, "trial 7 is RUNNING: choose a COMPLETE trial"),
        ({"state": "FAIL"}, "trial 7 is FAIL"),
        ({"architecture_json": None}, "trial 7 of study 'a study' has no architecture"),
        ({"checkpoint": None}, "no checkpoint in the study DB"),
        ({"checkpoint": "/nowhere"}, "there is no directory /nowhere"),
        ({"epochs": 9}, "no checkpoint of its epoch 9: the newest is of epoch 3"),
        ({"epochs": None}, "no checkpoint of its epoch None"),
    ],
)
def test_trials_that_cannot_be_exported(study, trial, target, changes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quick_export(study, replace(trial, **changes), target, allow_pruned=True)
    assert nothing_half_made(target)


def test_a_checkpoint_without_weights(study, trial, target) -> None:
    (Path(trial.checkpoint) / "epoch-0003" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="the checkpoint of trial 7 lacks its weights"):
        quick_export(study, trial, target)


def test_what_could_not_be_loaded_is_not_exported(study, trial, target) -> None:
    (Path(trial.checkpoint) / "epoch-0003" / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"epoch-0003.*is damaged"):
        quick_export(study, trial, target)
    assert nothing_half_made(target)


def test_a_failure_leaves_the_earlier_export(study, trial, target, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_export(study, trial, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    rename: Callable[[Path, Path], Path] = Path.rename

    def failing(source: Path, destination: Path) -> Path:
        if destination == target and not source.name.endswith(".former"):
            raise OSError("no space left")
        return rename(source, destination)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no space left"):
        quick_export(study, replace(trial, flops=9), target, force=True)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert nothing_half_made(target)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_cannot_be_made_is_named(study, trial, target, name: str, monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise NotImplementedError("no such operator\nin 300 lines")

    monkeypatch.setitem(FORMATS, name, replace(FORMATS[name], write=fails))
    others = [other for other in FORMATS if other != name]
    with pytest.raises(InputError, match=f"no {name} can be made .*NotImplementedError: no such operator.*--without"):
        results.export(study, trial, target, without=others)
    assert nothing_half_made(target)
    results.export(study, trial, target, without=tuple(FORMATS))
    assert not (target / name).exists()


def test_a_file_that_gives_something_else_is_named(study, trial, trained, target, monkeypatch) -> None:
    def off_by_a_little(_: Path) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda images: trained(images) + 0.01 * (len(images) == 5)

    wrong = Format(lambda _, file: file.touch(), off_by_a_little, exact=False)
    monkeypatch.setitem(FORMATS, "model.onnx", wrong)
    with pytest.raises(
        VerificationError, match=r"model\.onnx on a batch of 5 .* by up to 0\.01: .*--without model\.onnx"
    ):
        results.export(study, trial, target, without=("model.pt2", "model.py"))
    assert nothing_half_made(target)


def test_a_file_to_leave_out_that_there_is_not(study, trial, target) -> None:
    with pytest.raises(InputError, match=r"unknown file to leave out 'onnx': did you mean 'model.onnx'"):
        results.export(study, trial, target, without=("onnx",))


def test_a_study_that_senas_did_not_make(study, trial, target) -> None:
    with pytest.raises(InputError, match="study 'a study' was not made by senas"):
        results.export(study_of(trial, attributes={}), trial, target)
    assert nothing_half_made(target)


def test_weights_of_another_training(study, trial, architecture, target, tmp_path) -> None:
    """As after a training in full: the trial is the search's, and the weights are said to be the evaluation's."""
    other = build(architecture, seed=8).eval()
    again = replace(trial_of(architecture, other, tmp_path / "again"), number=0, accuracy=0.5, parameters={"seed": 9})
    evaluation = study_of(again, "final", ATTRIBUTES | {"fingerprints": {"test": "x"}})
    quick_export(study, trial, target, retrain=lambda: Training(evaluation, again))
    images = torch.randn(2, *architecture.backbone.input_size)
    assert torch.equal(results.load(target)(images), other(images))
    metadata = json.loads((target / "metadata.json").read_text())
    assert (metadata["study"], metadata["trial"], metadata["objectives"]["accuracy"]) == ("a study", 7, 0.875)
    assert metadata["weights"] == {
        "study": "final",
        "trial": 0,
        "state": "COMPLETE",
        "epochs": 3,
        "seed": 9,
        "recipe": {"lr": 0.1},
        "trained_on": "training and validation images",
        "scored_on": "test images, once, after the last epoch",
        "accuracy": 0.5,
    }
    assert "50.00% top-1 on the test images, once" in (target / "README.md").read_text()


def test_nothing_is_trained_for_a_target_that_will_not_do(study, trial, target) -> None:
    target.mkdir(parents=True)
    (target / "thesis.tex").touch()
    with pytest.raises(InputError, match="is not empty"):
        quick_export(study, trial, target, retrain=lambda: pytest.fail("it was trained"))


@pytest.fixture
def exported(study, trial, target) -> Path:
    return quick_export(study, trial, target)


def test_there_is_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no export at"):
        results.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"it has no metadata\.json"):
        results.load(tmp_path)


@pytest.mark.parametrize("name", ["architecture.yaml", "model.safetensors", "metadata.json"])
def test_a_missing_file_is_named(exported: Path, name: str) -> None:
    (exported / name).unlink()
    with pytest.raises(InputError, match=f"it has no {name}"):
        results.load(exported)


@pytest.mark.parametrize("name", ["architecture.yaml", "model.safetensors"])
def test_a_changed_file_is_named(exported: Path, name: str) -> None:
    content = bytearray((exported / name).read_bytes())
    content[-1] ^= 1
    (exported / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is not what was exported"):
        results.load(exported)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sha256": 3}'])
def test_metadata_that_are_not_an_exports(exported: Path, text: str) -> None:
    (exported / "metadata.json").write_text(text)
    with pytest.raises(InputError, match=r"metadata\.json is not"):
        results.load(exported)


def test_weights_that_are_no_safetensors(exported: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, exported / "model.safetensors")
    sign_again(exported)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged or no safetensors file"):
        results.load(exported)


def test_weights_of_another_architecture(exported: Path, backbone: Backbone) -> None:
    save_file(build(Architecture(backbone)).state_dict(), exported / "model.safetensors")
    sign_again(exported)
    with pytest.raises(InputError, match=r"does not fit its architecture: it lacks se\.layer1-0.* \(and \d+ more\)"):
        results.load(exported)


def test_an_architecture_of_other_weights(exported: Path, backbone: Backbone) -> None:
    (exported / "architecture.yaml").write_text(Architecture(backbone).to_yaml())
    sign_again(exported)
    with pytest.raises(InputError, match=r"it has se\.layer1-0.*, which the network has not"):
        results.load(exported)


def test_weights_of_another_shape(exported: Path, backbone: Backbone, architecture: Architecture) -> None:
    wider = replace(architecture, backbone=replace(backbone, num_classes=11))
    save_file(build(wider).state_dict(), exported / "model.safetensors")
    sign_again(exported)
    with pytest.raises(InputError, match=r"of shape \(11, \d+\) where the network has \(10, \d+\)"):
        results.load(exported)


def test_an_architecture_that_is_none(exported: Path) -> None:
    (exported / "architecture.yaml").write_text("!!python/object/apply:os.system ['true']")
    sign_again(exported)
    with pytest.raises(InputError, match="not valid YAML"):
        results.load(exported)


def test_importing_the_modules_does_not_hide_the_functions() -> None:
    import results.exporting
    import results.loading

    assert results.load is results.loading.load
    assert results.export is results.exporting.export
