import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from search_space.errors import InputError
from trainers import checkpoint
from trainers.checkpoint import restore, save
from trainers.checkpoint_layout import MODEL, OPTIMIZER, STATE, folder_name, folders, is_whole, latest, read_state
from trainers.data.splits import Splits
from trainers.recipe import Recipe
from trainers.run import DivergedError, TrainingRun

MakeModel = Callable[..., nn.Module]
RECIPES = {
    "sgd": Recipe(batch_size=16, augment=("crop", "flip"), warmup_epochs=1),
    "sgd, nesterov, channels last": Recipe(batch_size=16, nesterov=True, channels_last=True),
    "sgd, no momentum": Recipe(batch_size=16, momentum=0),
    "adamw": Recipe(optimizer="adamw", batch_size=16),
    "adamw, bf16": Recipe(optimizer="adamw", batch_size=16, precision="bf16"),
    "adadelta": Recipe(optimizer="adadelta", batch_size=16, schedule="step", step_epochs=1, decay=0.7),
    "averaged, clipped": Recipe(batch_size=16, ema_decay=0.9, clip_norm=0.5, augment=("crop", "cutout"), cutout_size=3),
    "adamw, averaged, parts without decay": Recipe(
        optimizer="adamw", batch_size=16, ema_decay=0.99, decay_norm_and_bias=False, schedule="one_cycle"
    ),
    "plateau": Recipe(batch_size=16, lr=2.0, schedule="plateau", patience=1, decay=0.3),
}


def train(run: TrainingRun, epochs: int) -> TrainingRun:
    for _ in range(epochs):
        run.train_epoch()
        run.evaluate()
    return run


def tensors(run: TrainingRun) -> dict[str, Tensor]:
    state = run.optimizer.state_dict()["state"]
    moments = {f"{index}/{name}": value for index, values in state.items() for name, value in values.items()}
    averaged = {f"averaged/{name}": value for name, value in run.network.state_dict().items()}
    return run.model.state_dict() | averaged | {k: v for k, v in moments.items() if isinstance(v, Tensor)}


def assert_equal(first: TrainingRun, second: TrainingRun) -> None:
    ours, theirs = tensors(first), tensors(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
        assert value.stride() == theirs[name].stride(), name
    assert (first.epoch, first.curve) == (second.epoch, second.curve)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_broken_and_restored_run_equals_an_unbroken_one(
    recipe: Recipe, splits: Splits, make_model: MakeModel, tmp_path: Path
) -> None:
    unbroken = train(TrainingRun(make_model(), splits, recipe, epochs=4, seed=5), 4)
    broken = train(TrainingRun(make_model(), splits, recipe, epochs=4, seed=5), 2)
    save(broken, tmp_path)
    train(broken, 1)  # what came after the checkpoint is lost

    restored = TrainingRun(make_model(seed=99), splits, recipe, epochs=4, seed=5)
    assert restore(restored, tmp_path) == 2
    assert_equal(train(restored, 2), unbroken)


class BrokenOffError(Exception):
    pass


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_broken_off_at_any_step_goes_on_as_if_it_had_not_been(
    recipe: Recipe, splits: Splits, make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    def run(seed: int = 0) -> TrainingRun:
        return TrainingRun(make_model(seed=seed), splits, recipe, epochs=3, seed=5)

    unbroken, broken, restored = train(run(), 3), run(), run(seed=99)
    steps = 3 * broken.steps_per_epoch
    saved_after = data.draw(st.integers(1, steps), label="saved after")
    broken_after = data.draw(st.integers(saved_after, steps), label="broken after")
    folder = tmp_path_factory.mktemp("run")

    def save_then_break() -> None:
        done = broken.epoch * broken.steps_per_epoch + broken.step
        if done == saved_after:
            save(broken, folder)
        if done == broken_after:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        while True:
            broken.train_epoch(save_then_break)
            broken.evaluate()
    assert restore(restored, folder) == (saved_after - 1) // broken.steps_per_epoch
    assert_equal(train(restored, 3 - restored.epoch), unbroken)


def test_a_run_goes_on_after_what_its_hook_raised(splits: Splits, make_model: MakeModel) -> None:
    unbroken = train(TrainingRun(make_model(), splits, RECIPES["adamw"], epochs=1), 1)
    halting = TrainingRun(make_model(), splits, RECIPES["adamw"], epochs=1)

    def halt() -> None:
        raise BrokenOffError

    for _ in range(halting.steps_per_epoch):
        with pytest.raises(BrokenOffError):
            halting.train_epoch(halt)
    assert_equal(train(halting, 1), unbroken)


def test_what_has_diverged_is_not_saved(splits: Splits, make_model: MakeModel, tmp_path: Path) -> None:
    run = TrainingRun(make_model(), splits, Recipe(batch_size=16, lr=1e30), epochs=1)

    def save_late() -> None:
        if run.step == run.steps_per_epoch:
            save(run, tmp_path)

    with pytest.raises(DivergedError, match="at epoch 1 of 1, step"):
        run.train_epoch(save_late)
    assert latest(tmp_path) is None


def test_saving_does_not_disturb_a_run(splits: Splits, make_model: MakeModel, tmp_path: Path) -> None:
    undisturbed = train(TrainingRun(make_model(), splits, RECIPES["sgd"], epochs=3), 3)
    saved = TrainingRun(make_model(), splits, RECIPES["sgd"], epochs=3)
    while not saved.finished:
        save(train(saved, 1), tmp_path)
    assert_equal(saved, undisturbed)


@pytest.fixture
def run(splits: Splits, make_model: MakeModel) -> TrainingRun:
    return TrainingRun(make_model(), splits, RECIPES["sgd"], epochs=20)


def test_the_newest_two_are_kept(run: TrainingRun, tmp_path: Path) -> None:
    assert restore(run, tmp_path) is None
    assert latest(tmp_path / "nowhere") is None
    assert save(run, tmp_path) == tmp_path / "epoch-0000"
    for _ in range(3):
        save(train(run, 1), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0002", "epoch-0003"]
    assert latest(tmp_path) == tmp_path / "epoch-0003"


def test_what_is_damaged_does_not_stand_before_what_is_saved_next(
    splits: Splits, make_model: MakeModel, tmp_path: Path
) -> None:
    def step_by_step(run: TrainingRun, saves: set[int]) -> None:
        def save_some() -> None:
            if run.step in saves:
                save(run, tmp_path)
            if run.step == max(saves):
                raise BrokenOffError

        with pytest.raises(BrokenOffError):
            run.train_epoch(save_some)

    def run() -> TrainingRun:
        return TrainingRun(make_model(), splits, RECIPES["adamw"], epochs=2)

    step_by_step(run(), {1, 4})
    (tmp_path / folder_name(0, 4) / MODEL).write_bytes(b"cut short")
    again = run()
    restore(again, tmp_path)
    assert again.step == 1
    step_by_step(again, {2, 3})
    assert [folder.name for folder in folders(tmp_path)] == [folder_name(0, 3), folder_name(0, 2)]
    assert all(is_whole(folder) for folder in folders(tmp_path))


def test_epochs_are_ordered_as_numbers(tmp_path: Path) -> None:
    for epoch, step in ((9999, 0), (10000, 0), (3, 0), (3, 7), (3, 1000000)):
        (tmp_path / folder_name(epoch, step)).mkdir()
    (tmp_path / "notes").mkdir()
    assert [path.name for path in folders(tmp_path)] == [
        "epoch-10000",
        "epoch-9999",
        "epoch-0003-step-1000000",
        "epoch-0003-step-000007",
        "epoch-0003",
    ]


def test_a_checkpoint_is_plain_data(run: TrainingRun, tmp_path: Path) -> None:
    folder = save(train(run, 2), tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [MODEL, OPTIMIZER, STATE]
    assert load_file(folder / MODEL).keys() == run.model.state_dict().keys()
    state = read_state(folder)
    assert state["epoch"] == 2
    assert state["curve"] == run.curve
    assert [entry["epoch"] for entry in state["curve"]] == [1, 2]
    assert state["normalization"]["mean"] == list(run.normalization.mean)
    assert Recipe.model_validate(state["settings"]["recipe"]) == run.recipe


@given(name=st.sampled_from([MODEL, OPTIMIZER, STATE]), kept=st.floats(0, 1, exclude_max=True))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    run: TrainingRun, tmp_path: Path, name: str, kept: float
) -> None:
    if run.epoch == 0:
        save(train(run, 1), tmp_path)
        save(train(run, 1), tmp_path)
    file = tmp_path / "epoch-0002" / name
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    try:
        assert latest(tmp_path) == tmp_path / "epoch-0001"
    finally:
        file.write_bytes(whole)
    assert latest(tmp_path) == tmp_path / "epoch-0002"


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_damaged_checkpoint_is_replaced_in_time(
    damage: str, run: TrainingRun, splits: Splits, make_model: MakeModel, tmp_path: Path
) -> None:
    for _ in range(2):
        save(train(run, 1), tmp_path)
    file = tmp_path / "epoch-0002" / MODEL
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    if damage == "missing":
        file.unlink()
    again = TrainingRun(make_model(seed=9), splits, run.recipe, epochs=20)
    assert restore(again, tmp_path) == 1
    save(train(again, 1), tmp_path)
    assert latest(tmp_path) == tmp_path / "epoch-0002"
    assert_equal(again, run)


def test_a_state_that_is_no_state_is_not_whole(run: TrainingRun, tmp_path: Path) -> None:
    folder = save(run, tmp_path)
    for content in ("[]", "3", "{}", '{"sha256": {}}', '{"sha256": null}'):
        (folder / STATE).write_text(content)
        assert not is_whole(folder)


def test_a_crash_while_saving_leaves_the_checkpoint_before(
    run: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(train(run, 1), tmp_path)
    train(run, 1)

    def crash(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "_sync_folder", crash)
        save(run, tmp_path)
    assert latest(tmp_path) == tmp_path / "epoch-0001"
    save(run, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001", "epoch-0002"]


def test_another_run_is_not_gone_on_with(
    run: TrainingRun, splits: Splits, make_model: MakeModel, tmp_path: Path
) -> None:
    save(train(run, 1), tmp_path)
    with pytest.raises(InputError, match="is of another architecture"):
        restore(TrainingRun(make_model(width=4), splits, run.recipe, epochs=20), tmp_path)
    with pytest.raises(InputError, match="trained with seed 0, not 1"):
        restore(TrainingRun(make_model(), splits, run.recipe, epochs=20, seed=1), tmp_path)
    with pytest.raises(InputError, match="trained with epochs 20, not 30"):
        restore(TrainingRun(make_model(), splits, run.recipe, epochs=30), tmp_path)
    other = run.recipe.model_copy(update={"lr": 0.01})
    with pytest.raises(InputError, match=r"trained with lr 0.1, not 0.01"):
        restore(TrainingRun(make_model(), splits, other, epochs=20), tmp_path)


def test_a_recipe_from_before_a_key_existed_is_the_same_recipe(
    run: TrainingRun, splits: Splits, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = save(run, tmp_path)
    state = read_state(folder)
    del state["settings"]["recipe"]["label_smoothing"]
    (folder / STATE).write_text(json.dumps(state))
    assert restore(TrainingRun(make_model(), splits, run.recipe, epochs=20), tmp_path) == 0
