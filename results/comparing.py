"""Studies side by side: their fronts, and how much of the objectives' space each dominates, on one scale for all."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from results.best import best_of
from results.front import dominates, front
from results.hypervolume import Box
from results.records import STATES, State, TrialRecord
from results.study import Study
from results.tables import Objective, losses
from search_space.errors import InputError

_Loss = tuple[float, ...]


@dataclass(frozen=True)
class Contender:
    """One of the studies that are compared.

    Attributes:
        trials: number of trials by state, every state listed.
        best_value: value of the first objective in the best trial (:mod:`results.best`); None without one.
        best_accuracy: accuracy of the best trial, 0 to 1; None if it is unknown.
        front_size: number of COMPLETE trials on the study's front.
        hypervolume: what the front dominates of the box from the best value of each objective, over the COMPLETE
            trials of all the studies, to a tenth of the range beyond the worst; 0 to 1.
        share: of the points on the front of all studies together, the share that this one has, 0 to 1. Points that
            several studies have count for each. None if no study has a COMPLETE trial.
        covers: by the other studies' names, the share of their front that some point of this one equals or dominates:
            the C-metric of Zitzler & Thiele (1998). None of a study without a front.
    """

    name: str
    trials: Mapping[State, int] = field(hash=False)
    best_value: float | None
    best_accuracy: float | None
    front_size: int
    hypervolume: float
    share: float | None
    covers: Mapping[str, float | None] = field(hash=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return vars(self) | {"trials": dict(self.trials), "covers": dict(self.covers)}


@dataclass(frozen=True)
class Level:
    """The best of each study, by its name, among its COMPLETE trials of at most so many FLOPs.

    Attributes:
        values: of the first objective.
        accuracies: of the same trials, 0 to 1.
    """

    flops: float
    values: Mapping[str, float | None] = field(hash=False)
    accuracies: Mapping[str, float | None] = field(hash=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"flops": self.flops, "accuracies": dict(self.accuracies), "values": dict(self.values)}


@dataclass(frozen=True)
class Comparison:
    """Several studies, in the order given.

    Attributes:
        scored_by: which images gave the accuracies: "validation", or "test" in final evaluations.
        objectives: those of the first study, the first of which says what is best.
        levels: by rising FLOPs, where the best value of some study changes.
        notes: sentences on what else differs between the studies, or is not known of them.
    """

    objectives: tuple[Objective, ...]
    scored_by: str
    studies: tuple[Contender, ...]
    levels: tuple[Level, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "objectives": [objective.name for objective in self.objectives],
            "scored_by": self.scored_by,
            "studies": [study.to_json() for study in self.studies],
            "levels": [level.to_json() for level in self.levels],
            "notes": list(self.notes),
        }


def compare(studies: Sequence[Study]) -> Comparison:
    """What each of several studies has found, beside the others.

    Each objective is scaled by its range over all the studies, since SE moves FLOPs by less than a percent.

    Raises:
        InputError: fewer than two studies, one of them twice, or studies that differ in their objectives or in the
            images that give the accuracies.
    """
    _check_names([study.name for study in studies])
    _check_objectives(studies)
    _check_images(studies)
    objectives = studies[0].objectives
    fronts = {study.name: _points(study.front(), objectives) for study in studies}
    joint = _distinct_front([point for points in fronts.values() for point in points])
    bests = {study.name: best_of(study.records, objectives) for study in studies}
    volumes = _hypervolumes({study.name: _points(study.records, objectives) for study in studies})
    return Comparison(
        objectives=objectives,
        scored_by=studies[0].scored_by,
        studies=tuple(
            Contender(
                name=study.name,
                trials=_by_state(study),
                best_value=_figure(bests[study.name], objectives[0].name),
                best_accuracy=_figure(bests[study.name], "accuracy"),
                front_size=len(fronts[study.name]),
                hypervolume=volumes[study.name],
                share=len(joint & set(fronts[study.name])) / len(joint) if joint else None,
                covers={
                    other: _coverage(fronts[study.name], points)
                    for other, points in fronts.items()
                    if other != study.name
                },
            )
            for study in studies
        ),
        levels=tuple(_levels(studies, objectives)),
        notes=tuple(_notes(studies)),
    )


def _check_names(names: Sequence[str]) -> None:
    if len(names) < 2:
        raise InputError(f"a comparison takes two studies or more, not {len(names)}: name another")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"study '{twice[0]}' is named twice: name different studies")


def _check_objectives(studies: Sequence[Study]) -> None:
    first, *others = studies
    for other in others:
        if set(other.objectives) != set(first.objectives):
            raise InputError(
                f"studies of different objectives cannot be compared: '{first.name}' has {_directed(first)}, "
                f"'{other.name}' {_directed(other)}"
            )


def _directed(study: Study) -> str:
    return ", ".join(f"{'max' if o.maximize else 'min'} {o.name}" for o in study.objectives)


def _check_images(studies: Sequence[Study]) -> None:
    first, *others = studies
    for other in others:
        if other.scored_by != first.scored_by:
            raise InputError(
                f"accuracies on different images cannot be compared: '{first.name}' is scored on the "
                f"{first.scored_by} images, '{other.name}' on the {other.scored_by} images"
            )
    known = [study for study in studies if _scoring_images(study) is not None]
    for other in known[1:]:
        if _scoring_images(other) != _scoring_images(known[0]):
            raise InputError(
                f"accuracies on different images cannot be compared: the {first.scored_by} images of "
                f"'{known[0].name}' have the fingerprint {_scoring_images(known[0])}, those of '{other.name}' "
                f"{_scoring_images(other)}"
            )


def _scoring_images(study: Study) -> str | None:
    fingerprint: str | None = study.user_attrs.get("fingerprints", {}).get(study.scored_by)
    return fingerprint


def _points(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> list[_Loss]:
    return [tuple(point) for point in losses(objectives, [r.objectives for r in records if r.objectives])]


def _distinct_front(points: Sequence[_Loss]) -> set[_Loss]:
    return {points[index] for index in front(points)}


def _hypervolumes(complete: Mapping[str, Sequence[_Loss]]) -> dict[str, float]:
    """What the points of each study dominate of one box for all."""
    finite = {name: [point for point in points if all(map(isfinite, point))] for name, points in complete.items()}
    box = Box(point for points in finite.values() for point in points)
    return {name: box.dominated(points) for name, points in finite.items()}


def _coverage(ours: Sequence[_Loss], theirs: Sequence[_Loss]) -> float | None:
    if not theirs:
        return None
    return sum(any(our == their or dominates(our, their) for our in ours) for their in theirs) / len(theirs)


def _by_state(study: Study) -> dict[State, int]:
    count = Counter(record.state for record in study.records)
    return {state: count[state] for state in STATES}


def _figure(record: TrialRecord | None, name: str) -> float | None:
    return None if record is None else record.figure(name)


def _levels(studies: Sequence[Study], objectives: Sequence[Objective]) -> list[Level]:
    costs = {record.flops for study in studies for record in study.front() if record.flops is not None}
    levels: list[Level] = []
    for flops in sorted(costs):
        within = {
            study.name: [r for r in study.records if r.flops is not None and r.flops <= flops] for study in studies
        }
        bests = {name: best_of(records, objectives) for name, records in within.items()}
        values = {name: _figure(best, objectives[0].name) for name, best in bests.items()}
        if not levels or values != levels[-1].values:
            levels.append(Level(flops, values, {name: _figure(best, "accuracy") for name, best in bests.items()}))
    return levels


def _notes(studies: Sequence[Study]) -> list[str]:
    notes = []
    for what, values in {
        "epochs of a trial": [study.epochs for study in studies],
        "training images": [study.user_attrs.get("fingerprints", {}).get("training") for study in studies],
        "backbone": [_configured(study, "backbone", "backbones") for study in studies],
        "recipe": [_configured(study, "recipe") for study in studies],
    }.items():
        known = [value for value in values if value is not None]
        if any(value != known[0] for value in known):
            notes.append(f"The studies differ in the {what}.")
    unknown = [f"'{study.name}'" for study in studies if _scoring_images(study) is None]
    if unknown:
        notes.append(f"It is not known which images give the accuracies of {' and '.join(unknown)}.")
    return notes


def _configured(study: Study, *keys: str) -> list[Any] | None:
    return None if study.config is None else [study.config.get(key) for key in keys]
