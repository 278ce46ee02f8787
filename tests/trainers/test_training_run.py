from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_space.errors import InputError
from trainers.data.config import DataConfig
from trainers.data.images import ImageSet
from trainers.data.splits import Splits, search_splits
from trainers.recipe import Recipe
from trainers.run import DivergedError, TrainingRun
from trainers.schedule import learning_rate

MakeModel = Callable[..., nn.Module]
RECIPE = Recipe(lr=0.05, batch_size=16, augment=("crop", "flip"), crop_padding=1)


def weights(run: TrainingRun) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def trained(model: nn.Module, splits: Splits, recipe: Recipe = RECIPE, seed: int = 3) -> TrainingRun:
    run = TrainingRun(model, splits, recipe, epochs=2, seed=seed)
    while not run.finished:
        run.train_epoch()
        run.evaluate()
    return run


def test_equal_runs_are_equal_bit_for_bit(splits: Splits, make_model: MakeModel) -> None:
    first = trained(make_model(), splits)
    model = make_model()
    torch.manual_seed(12345)  # what else has been drawn does not matter
    second = trained(model, splits)
    assert same(weights(first), weights(second))
    assert first.curve == second.curve
    assert not same(weights(first), weights(trained(make_model(), splits, seed=4)))


def test_every_network_sees_the_same_images_in_the_same_order(splits: Splits, make_model: MakeModel) -> None:
    def seen(model: nn.Module) -> Tensor:
        inputs: list[Tensor] = []
        model.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
        run = TrainingRun(model, splits, RECIPE, epochs=2, seed=3)
        run.train_epoch()
        run.train_epoch()
        return torch.cat(inputs)

    plain, other = seen(make_model(dropout=0.0)), seen(make_model(seed=1, width=4, dropout=0.5))
    assert torch.equal(plain, other)
    assert not torch.equal(*plain.chunk(2))  # the epochs differ


def test_the_callers_random_numbers_are_left_alone(splits: Splits, make_model: MakeModel) -> None:
    run = TrainingRun(make_model(), splits, RECIPE, epochs=1)
    before = torch.get_rng_state()
    run.train_epoch()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_metric_that_works_in_place_changes_no_other(splits: Splits, make_model: MakeModel) -> None:
    def destroying(logits: Tensor, labels: Tensor) -> float:
        logits.zero_()
        labels.zero_()
        torch.manual_seed(0)
        return 0.0

    def accuracy(logits: Tensor, labels: Tensor) -> float:
        return float((logits.argmax(1) == labels).double().mean())

    metrics = {"before": accuracy, "destroying": destroying, "after": accuracy}
    run = TrainingRun(make_model(), splits, RECIPE, epochs=2, metrics=metrics)
    plain = TrainingRun(make_model(), splits, RECIPE, epochs=2)
    for _ in range(2):
        run.train_epoch()
        plain.train_epoch()
        top1 = run.evaluate().top1
        assert run.curve[-1]["before"] == run.curve[-1]["after"] == pytest.approx(top1)
        assert plain.evaluate().top1 == top1
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), plain.model.parameters(), strict=True))


def test_the_metrics_are_those_of_the_predictions(splits: Splits, make_model: MakeModel) -> None:
    run = trained(make_model(), splits)
    metrics = run.evaluate()
    mean, std = (torch.tensor(v)[:, None, None] for v in asdict(splits.normalization).values())
    with torch.no_grad():
        logits = run.model.eval()((splits.held_out.images.float() - mean) / std)
    labels = splits.held_out.labels
    ranks = (logits > logits.gather(1, labels[:, None])).sum(dim=1)
    assert metrics.top1 == pytest.approx((ranks < 1).double().mean().item())
    assert metrics.top5 == pytest.approx((ranks < 5).double().mean().item())
    assert metrics.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert run.curve[-1] == {"epoch": 2, "train_loss": run.curve[-1]["train_loss"], **asdict(metrics)}


def test_evaluation_changes_nothing(splits: Splits, make_model: MakeModel) -> None:
    run = TrainingRun(make_model(), splits, RECIPE, epochs=2)
    before = weights(run)
    assert run.evaluate() == run.evaluate()
    assert same(before, weights(run))
    assert run.curve == []


def test_the_five_best_of_five_classes_say_nothing(make_model: MakeModel) -> None:
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
    five = ImageSet(images, torch.arange(20) % 5, num_classes=5)
    assert TrainingRun(make_model(), Splits(five, five), RECIPE, epochs=1).evaluate().top5 is None


def test_the_learning_rate_follows_the_schedule(splits: Splits, make_model: MakeModel) -> None:
    recipe = RECIPE.model_copy(update={"warmup_epochs": 1})
    run = TrainingRun(make_model(), splits, recipe, epochs=3)
    assert run.steps_per_epoch == 5  # of 90 images, 10 are left over
    rates = []
    run.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    while not run.finished:
        run.train_epoch()
    assert rates == [learning_rate(recipe, 3, step, 5) for step in range(15)]


@pytest.mark.parametrize("options", [{"channels_last": True}, {"precision": "bf16"}])
def test_speed_options_train_about_the_same(options: dict[str, object], splits: Splits, make_model: MakeModel) -> None:
    plain = trained(make_model(), splits)
    fast = trained(make_model(), splits, RECIPE.model_copy(update=options))
    assert fast.curve[-1]["train_loss"] == pytest.approx(plain.curve[-1]["train_loss"], rel=0.02)
    assert all(value.dtype != torch.bfloat16 for value in weights(fast).values())


def test_label_smoothing_is_for_training_only(splits: Splits, make_model: MakeModel) -> None:
    smooth = TrainingRun(make_model(), splits, RECIPE.model_copy(update={"label_smoothing": 0.3}), epochs=1)
    plain = TrainingRun(make_model(), splits, RECIPE, epochs=1)
    assert smooth.evaluate() == plain.evaluate()
    assert smooth.train_epoch() != plain.train_epoch()


def test_a_diverging_run_says_where(splits: Splits, make_model: MakeModel) -> None:
    recipe = Recipe(lr=1e30, schedule="constant", batch_size=16)
    run = TrainingRun(make_model(), splits, recipe, epochs=4)
    with pytest.raises(DivergedError, match=r"training loss is (nan|inf) at epoch 1 of 4, step \d of 5$"):
        run.train_epoch()
    assert (run.epoch, run.curve) == (0, [])
    with pytest.raises(DivergedError, match="held-out loss is nan"):
        run.evaluate()


def test_what_cannot_work_is_refused_before_training(splits: Splits, make_model: MakeModel) -> None:
    with pytest.raises(InputError, match="batch_size 128 is above the 90 training images"):
        TrainingRun(make_model(), splits, Recipe(batch_size=128), epochs=1)
    with pytest.raises(InputError, match="warmup_epochs must be below the 2 epochs"):
        TrainingRun(make_model(), splits, Recipe(warmup_epochs=2, batch_size=8), epochs=2)


def test_a_finished_run_stays_finished(splits: Splits, make_model: MakeModel) -> None:
    with pytest.raises(RuntimeError, match="all 2 epochs are done"):
        trained(make_model(), splits).train_epoch()


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(lr=0.1, batch_size=64),
        Recipe(optimizer="adamw", lr=0.01, batch_size=64, warmup_epochs=1),
        Recipe(optimizer="adadelta", batch_size=64, schedule="step", step_epochs=1, decay=0.7),
    ],
    ids=lambda recipe: recipe.optimizer,
)
def test_a_small_network_learns_the_digits(recipe: Recipe) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    run = TrainingRun(model, search_splits(DataConfig(name="digits")), recipe, epochs=4)
    while not run.finished:
        run.train_epoch()
    assert run.evaluate().top1 > 0.95


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_on_the_same_images(splits: Splits, make_model: MakeModel) -> None:
    fast = RECIPE.model_copy(update={"channels_last": True, "precision": "bf16"})
    runs = [TrainingRun(make_model(dropout=0.0), splits, fast, epochs=2, device=d) for d in ("cpu", "cuda")]
    on_cpu, on_gpu = (run.train_epoch() for run in runs)
    assert on_gpu == pytest.approx(on_cpu, rel=0.02)
    assert runs[1].evaluate().loss == pytest.approx(runs[0].evaluate().loss, rel=0.05)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(splits: Splits, make_model: MakeModel) -> None:
    plain, compiled = (
        trained(make_model(dropout=0.0), splits, RECIPE.model_copy(update={"compile": compile_it}))
        for compile_it in (False, True)
    )
    for ours, theirs in zip(compiled.curve, plain.curve, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-2)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
