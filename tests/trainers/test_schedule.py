import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import optim
from torch.optim import lr_scheduler

from search_space.errors import InputError
from trainers.recipe import Recipe, ScheduleName
from trainers.schedule import check_length, learning_rate

EPOCHS, STEPS = 6, 5


def rates(recipe: Recipe) -> list[float]:
    return [learning_rate(recipe, EPOCHS, step, STEPS) for step in range(EPOCHS * STEPS)]


def torch_rates(recipe: Recipe) -> list[float]:
    """The same by torch's schedulers, stepped at every iteration."""
    optimizer = optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    warmup = recipe.warmup_epochs * STEPS
    after = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1.0),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS * STEPS - warmup),
        "step": lambda: (
            lr_scheduler.MultiStepLR(
                optimizer, [milestone * STEPS - warmup for milestone in recipe.milestones], gamma=recipe.decay
            )
            if recipe.milestones
            else lr_scheduler.StepLR(optimizer, recipe.step_epochs * STEPS, gamma=recipe.decay)
        ),
        "one_cycle": lambda: lr_scheduler.OneCycleLR(
            optimizer, recipe.lr, total_steps=EPOCHS * STEPS, pct_start=recipe.rise, cycle_momentum=False
        ),
    }[recipe.schedule]
    scheduler: lr_scheduler.LRScheduler
    if warmup:
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
        scheduler = lr_scheduler.SequentialLR(optimizer, [rise, after()], milestones=[warmup])
    else:
        scheduler = after()
    seen = []
    for _ in range(EPOCHS * STEPS):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
@pytest.mark.filterwarnings("ignore:The epoch parameter")  # from inside torch's SequentialLR
def test_the_rates_are_those_of_torch(schedule: ScheduleName, warmup: int) -> None:
    recipe = Recipe(lr=0.4, schedule=schedule, warmup_epochs=warmup, step_epochs=2, decay=0.3)
    assert rates(recipe) == pytest.approx(torch_rates(recipe), rel=1e-6)


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.filterwarnings("ignore:The epoch parameter")  # from inside torch's SequentialLR
def test_the_rates_with_milestones_are_those_of_torch(warmup: int) -> None:
    recipe = Recipe(lr=0.4, schedule="step", milestones=(2, 3, 5), warmup_epochs=warmup, decay=0.3)
    assert rates(recipe) == pytest.approx(torch_rates(recipe), rel=1e-6)
    assert rates(recipe)[3 * STEPS] < rates(recipe)[3 * STEPS - 1] / 3


@pytest.mark.parametrize("rise", [0.05, 0.3, 0.5, 0.99])
def test_the_rates_of_one_cycle_are_those_of_torch(rise: float) -> None:
    recipe = Recipe(lr=0.4, schedule="one_cycle", rise=rise)
    assert rates(recipe) == pytest.approx(torch_rates(recipe), rel=1e-6)


@given(st.integers(1, 30), st.integers(1, 5), st.floats(0.01, 0.99))
def test_one_cycle_rises_and_falls_at_any_length(epochs: int, steps: int, rise: float) -> None:
    recipe = Recipe(lr=0.4, schedule="one_cycle", rise=rise)
    values = [learning_rate(recipe, epochs, step, steps) for step in range(epochs * steps)]
    peak = values.index(max(values))
    assert all(0 < value <= recipe.lr for value in values)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


LOSSES = st.lists(st.sampled_from([2.0, 1.0, 0.99995, 0.9998, 0.5, 0.1]), min_size=1, max_size=30)


@given(losses=LOSSES, patience=st.integers(1, 4), warmup=st.integers(0, 3))
def test_the_rates_of_plateau_are_those_of_torch(losses: list[float], patience: int, warmup: int) -> None:
    recipe = Recipe(lr=0.4, schedule="plateau", decay=0.5, patience=patience, warmup_epochs=warmup)
    optimizer = optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=1e-4)
    epochs = warmup + len(losses) + 1
    heard = [9.0 - epoch for epoch in range(warmup)]
    for epoch, loss in enumerate([*losses, 0.0], start=warmup):
        for step in (epoch * STEPS, epoch * STEPS + STEPS - 1):
            rate = optimizer.param_groups[0]["lr"]
            assert learning_rate(recipe, epochs, step, STEPS, heard) == pytest.approx(rate)
            assert learning_rate(recipe, epochs, step, STEPS, [*heard, 7.0]) == pytest.approx(rate)
        scheduler.step(loss)
        heard.append(loss)


def test_the_papers_cnn_decays_by_three_tenths_every_epoch() -> None:
    recipe = Recipe(optimizer="adadelta", lr=1.0, schedule="step", step_epochs=1, decay=0.7)
    by_epoch = rates(recipe)[::STEPS]
    assert by_epoch == pytest.approx([1, 0.7, 0.49, 0.343, 0.2401, 0.16807])


@given(
    schedule=st.sampled_from(["constant", "cosine", "step", "plateau"]),
    epochs=st.integers(1, 40),
    steps=st.integers(1, 50),
    data=st.data(),
)
def test_rates_rise_to_the_base_rate_and_then_never_rise(
    schedule: ScheduleName, epochs: int, steps: int, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(0, epochs - 1))
    recipe = Recipe(lr=0.3, schedule=schedule, warmup_epochs=warmup, step_epochs=3)
    values = [learning_rate(recipe, epochs, step, steps) for step in range(epochs * steps)]
    rise, fall = values[: warmup * steps], values[warmup * steps :]
    assert all(0 < value <= recipe.lr for value in values)
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert fall[0] == recipe.lr


@pytest.mark.parametrize(("warmup", "epochs"), [(0, 0), (3, 3), (5, 3)])
def test_a_recipe_must_fit_its_epochs(warmup: int, epochs: int) -> None:
    with pytest.raises(InputError, match="epochs must be"):
        check_length(Recipe(warmup_epochs=warmup), epochs)


def test_milestones_must_be_reached() -> None:
    recipe = Recipe(schedule="step", milestones=(2, 5))
    check_length(recipe, 6)
    with pytest.raises(InputError, match="milestones must be below the 5 epochs of training, not 5"):
        check_length(recipe, 5)
