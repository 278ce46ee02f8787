"""What is said while a search runs."""

import io

import pytest
from rich.console import Console

from nas.config import parse_config
from nas.engine import Assignment
from nas.progress import Progress
from nas.record import Ending
from search_space import Architecture, resolve

CONFIG = parse_config(
    {
        "study": "told",
        "backbone": {"name": "resnet8"},
        "data": {"name": "digits"},
        "search": {"trials": 4, "epochs": 3},
    }
)
NETWORK = Architecture(resolve("resnet8", num_classes=10, input_size=(1, 8, 8)))


def told(config=CONFIG, *, terminal=False):
    out = io.StringIO()
    console = Console(file=out, width=150, force_terminal=terminal, highlight=False)
    return out, Progress(config, console)


def assignment(number, epochs=0):
    return Assignment(number, NETWORK, {"flops": 2e6}, None, "there", epochs, 0)


def history(*accuracies):
    return [{"accuracy": accuracy} for accuracy in accuracies]


def test_without_a_terminal_every_ended_trial_is_a_line():
    out, progress = told()
    with progress:
        progress.begun(1)
        for number in (1, 2, 3):
            progress.started(assignment(number))
            progress.progressed(number, history(0.25))
        progress.progressed(1, history(0.25, 0.5, 0.75))
        progress.ended(1, Ending("COMPLETE", history(0.25, 0.5, 0.75), (0.75, 2e6)))
        progress.ended(2, Ending("PRUNED", history(0.25)))
        progress.ended(3, Ending("FAIL", history(0.25), reason="the loss is nan"))
    first, *lines, last = out.getvalue().splitlines()
    assert first == "Study told: resnet8 on digits, 4 trials of up to 3 epochs, 1 of them ended before"
    assert [line.split()[:3] for line in lines] == [
        ["trial", "1", "complete"],
        ["trial", "2", "stopped"],
        ["trial", "3", "failed"],
    ]
    assert "epoch   3/3  accuracy 0.7500  2.000 MFLOPs  no SE" in lines[0]
    assert lines[2].endswith("the loss is nan")
    assert last.startswith("1 complete, 1 stopped, 1 failed, 0 running · best accuracy 0.7500, 1 on the front · ")
    assert "\x1b" not in out.getvalue()


def by_objectives(*objectives):
    return parse_config(CONFIG.to_dict() | {"search": {"trials": 4, "epochs": 3, "objectives": list(objectives)}})


ERR = {"name": "err", "direction": "minimize", "measure": "mine:err"}


@pytest.mark.parametrize(
    ("objectives", "values", "line", "total"),
    [
        ([ERR, "flops"], [(0.25, 2e6), (0.125, 2e6), (0.5, 2e6)], "  err  0.125  ", "best err 0.125, 1 on the front"),
        ([ERR], [(float("nan"),), (float("inf"),), (0.5,)], "  err    inf  ", "best err 0.5, 1 on the front"),
        (["flops", "accuracy"], [(2e6, 0.5), (1e6, 0.1), (3e6, 0.9)], "  accuracy 0.1000  ", "best flops 1,000,000, 3"),
        (
            ["loss", "accuracy"],
            [(0.5, 0.5), (0.2, 0.1), (0.9, 0.9)],
            "  loss    0.2  ",
            "best loss 0.2, 3 on the front",
        ),
    ],
)
def test_what_is_followed_and_what_is_the_best_go_by_the_first_objective(objectives, values, line, total):
    out, progress = told(by_objectives(*objectives))
    names = [each if isinstance(each, str) else each["name"] for each in objectives]
    with progress:
        progress.begun(0)
        for number, final in enumerate(values):
            entry = {"accuracy": 0.75} | dict(zip(names, final, strict=True))
            progress.started(assignment(number))
            progress.progressed(number, [entry])
            progress.ended(number, Ending("COMPLETE", [entry], final))
    _, _, second, _, last = out.getvalue().splitlines()
    assert line in second
    assert f"3 complete, 0 stopped, 0 failed, 0 running · {total}" in last


def test_a_lost_trial_is_told_with_its_reason_and_is_not_ended():
    out, progress = told()
    with progress:
        progress.begun(0)
        progress.started(assignment(0))
        progress.progressed(0, history(0.5))
        progress.lost(0, "its node was lost")
        progress.started(assignment(0, epochs=1))
    assert "trial    0  lost" in out.getvalue()
    assert "it goes on from its last checkpoint: its node was lost" in out.getvalue()
    assert "0 complete, 0 stopped, 0 failed, 1 running" in out.getvalue()


def test_epochs_of_an_earlier_run_do_not_count_for_the_pace():
    _, progress = told()
    with progress:
        progress.begun(0)
        progress.started(assignment(0, epochs=2))
        progress.progressed(0, history(0.1, 0.2))
        assert progress._epochs == 0
        progress.progressed(0, history(0.1, 0.2, 0.3))
        assert progress._epochs == 1


def test_in_a_terminal_what_runs_is_drawn():
    out, progress = told(terminal=True)
    with progress:
        progress.begun(0)
        progress.started(assignment(0))
        progress.progressed(0, history(0.5))
        progress._told = 0.0
        progress.tick()
    assert "epoch 1/3" in out.getvalue()
