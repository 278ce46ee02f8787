"""The final evaluations of an architecture: studies of the same DB that scored it on the test set."""

from dataclasses import dataclass

from results import tables
from results.database import reading
from results.judgement import Judgement, judge
from results.study import open_study
from search_space.errors import InputError


@dataclass(frozen=True)
class Evaluation:
    """A final evaluation and its judgement; where it cannot be judged yet, why."""

    study: str
    judgement: Judgement | None
    obstacle: str = ""


def evaluations_of(url: str, architecture_id: str | None) -> list[Evaluation]:
    """Those whose winner is that architecture, in the order of their making.

    Args:
        url: of the study DB.
        architecture_id: None finds nothing.

    Raises:
        InputError: the DB cannot be read.
    """
    if architecture_id is None:
        return []
    found = []
    for name in _scored_by_test(url):
        trials = open_study(url, name).trials()
        if any(not trial.is_baseline and trial.architecture_id == architecture_id for trial in trials):
            try:
                found.append(Evaluation(name, judge(trials)))
            except InputError as error:
                found.append(Evaluation(name, None, str(error)))
    return found


def _scored_by_test(url: str) -> list[str]:
    with reading(url) as connection:
        fingerprints = {
            name: tables.study_attributes(connection, study).get("fingerprints")
            for name, study in tables.study_ids(connection).items()
        }
    return [name for name, said in fingerprints.items() if isinstance(said, dict) and "test" in said]
