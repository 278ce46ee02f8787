"""The command export."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import DEFAULT_STORAGE, AsJson, MaxFlops, Storage, StudyName
from nas.cli.render import console, print_json
from results.best import value_text
from results.files import read_metadata
from results.records import TrialRecord
from results.remote import absolute
from results.study import Study, open_study
from results.study_names import evaluation_of
from search_space.errors import InputError

if TYPE_CHECKING:  # torch takes seconds to load
    from results.exporting import Training


def export(
    study: StudyName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.", show_default=False)],
    trial: Annotated[int | None, typer.Option(help="This trial, not the best.")] = None,
    max_flops: MaxFlops = None,
    allow_pruned: Annotated[
        bool, typer.Option("--allow-pruned", help="Accept a trial that was stopped early.")
    ] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train it in full first, with the validation images too.")
    ] = False,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave a file out, such as model.onnx.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export there.")] = False,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL that has the checkpoints of the study, with --retrain of its final evaluation; "
            "found by itself, if not given.",
            metavar="DIR",
            parser=absolute,
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write the best architecture, or that trial's, with its weights as files that anyone can load.

    Each file is compared with the network before the directory appears. --retrain takes the weights of the final
    evaluation's first seed, which is trained as `senas evaluate` does unless it has been.
    """
    opened = open_study(storage, study, checkpoints=None if retrain else checkpoints)
    chosen = _choose(opened, trial, max_flops)
    if retrain and opened.scored_by == "test":
        raise InputError(f"'{study}' is a final evaluation, whose trials are trained in full: leave --retrain away")
    from results.exporting import export as write

    directory = write(
        opened,
        chosen,
        output,
        retrain=partial(_train_in_full, opened, chosen, storage, checkpoints) if retrain else None,
        without=without or (),
        force=force,
        allow_pruned=allow_pruned,
    )
    said = read_metadata(directory)
    if as_json:
        files = sorted(file.name for file in directory.iterdir())
        print_json({"directory": str(directory), "files": files, **{key: said[key] for key in ("weights", "verified")}})
    else:
        scored = ", ".join(_scores(opened, chosen, said["weights"]))
        console().print(f"Exported trial {chosen.number}{f' ({scored})' if scored else ''} to {output}", soft_wrap=True)


def _scores(study: Study, trial: TrialRecord, weights: Mapping[str, Any]) -> Iterator[str]:
    """What the trial reached in the first objective, and the accuracy of the weights."""
    first = study.objectives[0].name
    if first != "accuracy" and (value := trial.figure(first)) is not None:
        yield f"{first} {value_text(first, value)}"
    if weights["accuracy"] is not None:
        yield f"{weights['scored_on'].partition(' ')[0]} accuracy {weights['accuracy']:.4f}"


def _choose(study: Study, trial: int | None, max_flops: float | None) -> TrialRecord:
    if trial is not None and max_flops is not None:
        raise InputError("--trial names one trial and --max-flops chooses among all: give one of the two")
    if trial is not None:
        return study.trial(trial)
    if study.scored_by == "test":
        raise InputError(
            f"'{study.name}' is a final evaluation, and the test set is not to choose: name a trial by --trial"
        )
    chosen = study.best(max_flops)
    if chosen is None:
        limit = "" if max_flops is None else f" of at most {max_flops:,.0f} FLOPs"
        raise InputError(f"study '{study.name}' has no complete trial{limit} to export")
    return chosen


def _train_in_full(study: Study, trial: TrialRecord, storage: str, checkpoints: str | None) -> "Training":
    """The first training of the study's final evaluation, carried out unless it has been."""
    from nas.cli.full_training import Trainings, full_training, seeds_after
    from nas.cli.running import exit_by_signal
    from nas.evaluation import Entry
    from results.exporting import Training

    architecture, search = trial.architecture, dict(study.config or {})
    assert architecture is not None
    config = full_training(
        search | {"study": evaluation_of(study.name)},
        architecture,
        recipe=None,
        epochs=None,
        download=False,
        overrides=None,
    )
    seeds = seeds_after(search.get("search", {}).get("seed", 0), 1)
    trainings = Trainings(config, [Entry(architecture)], seeds)
    outcome = trainings.carry_out(storage, address=None, time_budget=None, checkpoints=checkpoints, log_level="warning")
    exit_by_signal(outcome)
    evaluation = open_study(storage, config.study)
    trained = next(
        found
        for found in evaluation.records
        if found.architecture_id == architecture.id and found.parameters.get("seed") in seeds
    )
    if trained.state != "COMPLETE":
        raise RuntimeError(f"the training in full failed: {trained.fail_reason}")
    return Training(evaluation, trained)
