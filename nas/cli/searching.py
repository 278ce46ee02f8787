"""The command search: runs or goes on with a search, and ends by saying what came of it."""

import shlex
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import DEFAULT_STORAGE, AsJson, ConfigFile, Download, Overrides, Storage, storage_words
from nas.cli.queries import print_front
from nas.cli.render import console, print_json, short_path
from nas.cli.reporting import write_report
from nas.cli.running import Address, Checkpoints, Logged, TimeBudget, exit_by_signal, with_checkpoints, with_progress
from nas.config import Config, load_config
from results.database import parse_url, shown
from results.query.language import written
from results.query.values import COLUMNS
from results.records import FIGURES
from results.study import Study, open_study
from results.study_names import study_command

if TYPE_CHECKING:  # Ray and torch take seconds to load
    from nas.driver import Outcome
    from nas.engine import Listener

REPORT = "report.html"
"""The report's name, beside a study's checkpoints."""


def search(
    config: ConfigFile,
    study: Annotated[str | None, typer.Option(help="Name of the study, if not the configuration's.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials the study is to have in all.")] = None,
    time_budget: TimeBudget = None,
    address: Address = None,
    checkpoints: Checkpoints = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of proposals, weights and data order.")] = None,
    download: Download = False,
    overrides: Overrides = None,
    storage: Storage = DEFAULT_STORAGE,
    log_level: Logged = "warning",
    as_json: AsJson = False,
) -> None:
    """Run a search, or go on with it: nothing that has finished is run again.

    Ends with the front, the baselines beside it, a report and the next steps. Ctrl-C or SIGTERM finishes the running
    epochs first (exit code 130 or 143), a second one ends at once; either way the next start goes on.
    """
    options = {"search.trials": trials, "search.seed": seed, "data.download": download or None}
    chosen = [f"{key}={value}" for key, value in options.items() if value is not None]
    checked = with_checkpoints(load_config(config, [*(overrides or ()), *chosen], study=study), checkpoints)

    def run(budget: timedelta | None, listener: "Listener") -> "Outcome":
        # Ray and torch take seconds to load, and what is wrong with a configuration should be told at once.
        from nas.driver import search

        return search(checked, storage, address=address, time_budget=budget, checkpoints=checkpoints, listener=listener)

    outcome = with_progress(run, checked, time_budget=time_budget, log_level=log_level)
    _conclude(checked, open_study(storage, checked.study), storage, outcome, as_json)
    exit_by_signal(outcome)


def _conclude(config: Config, study: Study, storage: str, outcome: "Outcome", as_json: bool) -> None:
    best = study.best()
    if as_json:
        report = _report(config, storage, outcome)
        print_json(
            {
                "study": study.name,
                "stopped_by": outcome.signal and outcome.signal.name,
                "front": [trial.to_json() for trial in study.front()],
                "baselines": [trial.to_json() for trial in study.baselines()],
                "best": None if best is None else best.number,
                "report": None if report is None else str(report),
            }
        )
    else:
        print_front(study, study.front())
        console().print()
        _print_what_is_left(config, study, outcome)
        _print_places(storage, _report(config, storage, outcome))
        _print_next_commands(config, study, storage, outcome.exhausted)
    if not any(trial.state == "COMPLETE" for trial in study.records) and (
        reasons := [trial.fail_reason for trial in study.trials() if trial.fail_reason]
    ):
        raise RuntimeError(f"no trial was completed; the first failure was: {reasons[0]}")


def _report(config: Config, storage: str, outcome: "Outcome") -> Path | None:
    """Writes the report, unless the search was interrupted: who does that wants it to end."""
    if outcome.signal is not None:
        return None
    file = config.folder / REPORT
    file.parent.mkdir(parents=True, exist_ok=True)  # checkpoints may lie elsewhere, or there are none
    write_report(config.study, storage, file)
    return file


def _print_what_is_left(config: Config, study: Study, outcome: "Outcome") -> None:
    ended = _ended(study)
    if outcome.exhausted:
        console().print("Every architecture of the space has been tried.")
    elif outcome.stalled and config.search.stop_when_stalled is not None:
        trials = config.search.stop_when_stalled.trials
        console().print(f"The front has not grown over the last {trials} trials, so the search ended.")
    elif ended < config.search.trials:
        console().print(f"{ended} of {config.search.trials} trials have ended: start the same command again to go on.")


def _print_places(storage: str, report: Path | None) -> None:
    out = console()
    out.print(f"study DB  {shown(parse_url(storage))}", soft_wrap=True)
    if report is not None:
        out.print(f"report    {short_path(report)}", soft_wrap=True)


def _print_next_commands(config: Config, study: Study, storage: str, exhausted: bool) -> None:
    at = storage_words(storage)
    steps = {"all trials": study_command("trials", study.name, f"{at} --sort={_best_first(study)} --limit 10")}
    best = study.best()
    if best is not None:
        steps["the best, site by site"] = study_command("show", study.name, at)
        steps["the best as files"] = study_command("export", study.name, f"{at} -o DIR")
        steps["is it better than the baselines?"] = f"evaluate DIR{at} --baselines --seeds 5"
    if not exhausted and _ended(study) >= config.search.trials:
        steps["add trials"] = _again(storage, 2 * config.search.trials)
    out = console()
    out.print()
    out.print("Next:")
    program = _program()
    width = max(len(command) for command in steps.values())
    for what, command in steps.items():
        out.print(f"  {program} {command:<{width}}  # {what}", soft_wrap=True)


def _best_first(study: Study) -> str:
    """The key that sorts trials by the first objective, the best at the top, as a word of the shell."""
    first = study.objectives[0]
    taken = [name for name in COLUMNS if name not in FIGURES]
    return shlex.quote(("-" if first.maximize else "") + written(first.name, "objectives", taken))


def _ended(study: Study) -> int:
    """Return the number of trials of the search that have ended, without those that another program added."""
    ended = (trial for trial in study.trials() if trial.state not in ("RUNNING", "WAITING"))
    return sum(trial.architecture_id is not None for trial in ended)


def _again(storage: str, trials: int) -> str:
    """Return what was typed after the program's name, with that number of trials and without a password."""
    words = [word.replace(storage, shown(parse_url(storage))) for word in sys.argv[1:]]
    options, operands = words, list[str]()
    if "--" in words:
        options, operands = words[: words.index("--")], words[words.index("--") :]
    kept, left = [], iter(options)
    for word in left:
        if word in ("--trials", "--set"):
            value = next(left, "")
            if word == "--set" and not value.startswith("search.trials="):
                kept += [word, value]
        elif not word.startswith(("--trials=", "--set=search.trials=")):
            kept.append(word)
    return shlex.join([*kept, "--trials", str(trials), *operands])


def _program() -> str:
    """How to type this command again: by its name where the shell finds it, else by its path."""
    used = Path(sys.argv[0])
    if used.name != "senas":
        return "python -m nas"
    found = shutil.which("senas")
    return "senas" if found and Path(found).samefile(used) else shlex.quote(str(short_path(used.absolute())))
