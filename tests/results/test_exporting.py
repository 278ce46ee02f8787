import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from se_block import se_block

import results
from results import Study, TrialRecord
from results.tables import Objective
from search_space import Architecture, Backbone, InputError, build


@pytest.fixture
def architecture(backbone: Backbone) -> Architecture:
    return Architecture(
        backbone, (("layer1.0", se_block("pre", (2,))), ("layer3.0", se_block("standard", (4, 2), bias=True)))
    )


@pytest.fixture
def trained(architecture: Architecture) -> torch.nn.Module:
    """A network none of whose weights and statistics is what it starts with."""
    torch.manual_seed(0)
    model = build(architecture, seed=5)
    model(torch.randn(8, *architecture.backbone.input_size))
    return model.eval()


@pytest.fixture
def trial(architecture: Architecture, trained: torch.nn.Module, tmp_path: Path) -> TrialRecord:
    for epoch, model in ((1, build(architecture)), (3, trained)):
        folder = tmp_path / "checkpoint" / f"epoch-{epoch:04d}"
        folder.mkdir(parents=True)
        save_file(model.state_dict(), folder / "model.safetensors")
    return TrialRecord(
        7,
        "COMPLETE",
        accuracy=0.875,
        flops=1234567,
        params=4321,
        epochs=3,
        checkpoint=str(tmp_path / "checkpoint"),
        objectives={"accuracy": 0.875, "flops": 1234567.0},
        architecture_json=json.dumps(architecture.to_dict()),
    )


@pytest.fixture
def study(trial: TrialRecord) -> Study:
    return Study(
        name="a study",
        user_attrs={
            "config": {"data": {"name": "digits"}},
            "runs": [{"versions": {"torch": "2.15"}}],
            "normalisation": {"mean": [0.5], "std": [0.25]},
        },
        objectives=(Objective("accuracy", True), Objective("flops", False)),
        records=(trial,),
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "best"


def nothing_half_made(target: Path) -> bool:
    return not target.parent.exists() or list(target.parent.iterdir()) in ([], [target])


def test_what_is_loaded_is_what_was_trained_bit_for_bit(study, trial, trained, architecture, target) -> None:
    assert results.export(study, trial, target) == target
    model = results.load(target)
    assert not model.training
    wanted = trained.state_dict()
    assert model.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in model.state_dict().items())
    images = torch.randn(4, *architecture.backbone.input_size)
    assert torch.equal(model(images), trained(images))


def test_the_files_of_an_export(study, trial, architecture, target) -> None:
    results.export(study, trial, target)
    assert {path.name for path in target.iterdir()} == {
        "architecture.yaml",
        "model.safetensors",
        "metadata.json",
        "README.md",
    }
    assert nothing_half_made(target)
    assert Architecture.from_yaml((target / "architecture.yaml").read_text()) == architecture
    metadata = json.loads((target / "metadata.json").read_text())
    checksums = metadata.pop("sha256")
    assert checksums == {
        name: hashlib.sha256((target / name).read_bytes()).hexdigest()
        for name in ("architecture.yaml", "model.safetensors")
    }
    metadata.pop("senas")
    assert metadata == {
        "study": "a study",
        "trial": 7,
        "state": "COMPLETE",
        "architecture_id": architecture.id,
        "objectives": {"accuracy": 0.875, "flops": 1234567.0},
        "flops": 1234567,
        "params": 4321,
        "epochs": 3,
        "data": {"name": "digits"},
        "config": study.config,
        "normalisation": {"mean": [0.5], "std": [0.25]},
        "versions": {"torch": "2.15"},
    }
    readme = (target / "README.md").read_text()
    assert 'results.load("best")' in readme
    assert "87.50% top-1" in readme
    assert "1,234,567 multiply-adds" in readme


def test_the_readmes_code_runs(study, trial, target, monkeypatch: pytest.MonkeyPatch) -> None:
    results.export(study, trial, target)
    code = (target / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(target.parent)
    names: dict[str, object] = {}
    exec(code, names)
    assert isinstance(names["model"], torch.nn.Module)


def test_an_empty_directory_is_used(study, trial, target) -> None:
    target.mkdir(parents=True)
    results.export(study, trial, target)
    assert (target / "metadata.json").is_file()
    assert nothing_half_made(target)


def test_an_earlier_export_is_replaced_only_by_force(study, trial, target) -> None:
    results.export(study, trial, target)
    (target / "stale.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        results.export(study, trial, target)
    results.export(study, replace(trial, flops=9), target, force=True)
    assert json.loads((target / "metadata.json").read_text())["flops"] == 9
    assert not (target / "stale.txt").exists()
    assert nothing_half_made(target)


def test_force_does_not_delete_what_is_no_export(study, trial, target) -> None:
    target.mkdir(parents=True)
    (target / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds something else than an export"):
        results.export(study, trial, target, force=True)
    assert (target / "thesis.tex").exists()


def test_a_file_is_no_directory(study, trial, target) -> None:
    target.parent.mkdir()
    target.touch()
    with pytest.raises(InputError, match="is a file"):
        results.export(study, trial, target, force=True)


def test_a_pruned_trial_has_to_be_allowed(study, trial, target) -> None:
    pruned = replace(trial, state="PRUNED", accuracy=None, objectives={})
    with pytest.raises(InputError, match="trial 7 is PRUNED: it was stopped after 3 epochs"):
        results.export(study, pruned, target)
    results.export(study, pruned, target, allow_pruned=True)
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
        results.export(study, replace(trial, **changes), target, allow_pruned=True)
    assert nothing_half_made(target)


def test_a_checkpoint_without_weights(study, trial, target) -> None:
    (Path(trial.checkpoint) / "epoch-0003" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="the checkpoint of trial 7 lacks its weights"):
        results.export(study, trial, target)


def test_what_could_not_be_loaded_is_not_exported(study, trial, target) -> None:
    (Path(trial.checkpoint) / "epoch-0003" / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"epoch-0003.*is damaged"):
        results.export(study, trial, target)
    assert nothing_half_made(target)


def test_a_failure_leaves_the_earlier_export(study, trial, target, monkeypatch: pytest.MonkeyPatch) -> None:
    results.export(study, trial, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    rename: Callable[[Path, Path], Path] = Path.rename

    def failing(source: Path, destination: Path) -> Path:
        if destination == target and not source.name.endswith(".former"):
            raise OSError("no space left")
        return rename(source, destination)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no space left"):
        results.export(study, replace(trial, flops=9), target, force=True)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert nothing_half_made(target)


@pytest.fixture
def exported(study, trial, target) -> Path:
    return results.export(study, trial, target)


def sign_again(folder: Path) -> None:
    """Makes the checksums those of the files, as someone who swaps files could."""
    metadata = json.loads((folder / "metadata.json").read_text())
    for name in metadata["sha256"]:
        metadata["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "metadata.json").write_text(json.dumps(metadata))


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
