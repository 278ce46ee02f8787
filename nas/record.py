"""The study DB as the driver writes it: the only writer, and the only state of a search.

What is written is an ordinary Optuna study. States mean what they say: COMPLETE is a trial trained for the full
budget, PRUNED one that ASHA stopped (its curve kept as intermediate values, no final value), FAIL one that broke (with
its reason), RUNNING one that is to go on. Intermediate values are the accuracy after each epoch.

The end of a trial takes several writes. The first says what the others will be, so that an end that was cut short is
brought to its end when the study is opened again.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, TypeVar

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.checkpoint_place import new_place
from nas.config import Config, recorded_config, with_sites_of
from nas.objectives import Entry, Objective
from nas.storage import patiently
from nas.trial_rows import CreateTrial
from results.checkpoint_places import Curves
from results.records import checkpoint_folder
from results.start_times import IN_UTC_FROM
from search_space.architecture import Architecture
from search_space.costs import Cost
from search_space.errors import InputError

_T = TypeVar("_T")
_SEED = "seed"
_PERHAPS_HELD_OTHERWISE = "; or, if there was more memory or less, say by data.stream whether they were streamed then"
_PERHAPS_READ_OTHERWISE = (
    "; or, if senas was updated, it may read more files now, or see orientation, transparency and 16 bits that it did "
    "not then (docs/data.md)"
)
_LAST_SEED = 2**32 - 1
_MOST_NAMED = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """An architecture about to be tried: what it costs, and the parameters that proposed it.

    A baseline that the space does not contain has no parameters. ``costs`` are the values of priced objectives.
    ``seed`` is that of its training, where that is not the study's; it is recorded as a parameter.
    """

    architecture: Architecture
    cost: Cost
    costs: Mapping[str, float]
    parameters: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    baseline: str | None = None
    seed: int | None = None


EndState = Literal["COMPLETE", "PRUNED", "FAIL"]


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        history: what was measured after each epoch.
        values: of the objectives, in their order; for COMPLETE alone.
        metrics: further figures of the last epoch.
        class_accuracies: accuracy on each class after the last epoch, in the order of labels; None for a class without
            images. Empty where it is not known.
    """

    state: EndState
    history: Sequence[Entry] = ()
    values: Sequence[float] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    traceback: str | None = None
    class_accuracies: Sequence[float | None] = ()


@dataclass(frozen=True)
class Facts:
    """What a study records of the search besides its configuration.

    Attributes:
        normalisation: that of the training images, which whoever uses an export has to apply too.
        fingerprints: of the images that trials are trained on and scored by, by the split's name.
        images: how many these are, likewise.
        run: who runs it with what: versions, git revision, host.
        weights: the SHA-256 of the weights files that the backbones begin with, by the backbone's label.
        database: the absolute path of the study DB's file; None for a DB on a server.
        class_names: names of the classes in the order of labels; None where they have none.
    """

    normalisation: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    run: Mapping[str, Any]
    images: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    database: str | None = None
    class_names: Sequence[str] | None = None


class EndedElsewhereError(Exception):
    """Another program has ended a trial that the search was about to write to.

    Attributes:
        found: the trial as the study DB has it.
    """

    def __init__(self, found: FrozenTrial) -> None:
        super().__init__(f"trial {found.number} was ended by another program as {found.state.name}")
        self.found = found


class StudyDeletedError(RuntimeError):
    """Another program has deleted the study that the search writes."""


class StudyRecord:
    """One study, open for writing. Trials are addressed by their number."""

    def __init__(
        self,
        storage: BaseStorage,
        study_id: int,
        objectives: Sequence[Objective],
        checkpoints: str,
        create: CreateTrial | None = None,
        guard: Callable[[], None] = lambda: None,
        *,
        scores_every_epoch: bool = True,
    ) -> None:
        self._storage = storage
        self._guard = guard
        self._create = create or self._create_by_optuna
        self._study_id = study_id
        self._checkpoints = checkpoints
        self._keeps_history = not scores_every_epoch or any(
            o.source == "measured" and o.name != "accuracy" for o in objectives
        )
        self._ids: dict[int, int] = {}
        self._epochs_written: dict[int, int] = {}

    @classmethod
    def open(
        cls,
        storage: BaseStorage,
        config: Config,
        objectives: Sequence[Objective],
        facts: Facts,
        *,
        create: CreateTrial | None = None,
        guard: Callable[[], None] = lambda: None,
        scores_every_epoch: bool = True,
        place: Callable[[Mapping[str, Any], Callable[[], Curves]], str] | None = None,
    ) -> "StudyRecord":
        """The study of a configuration, begun if it does not exist.

        Args:
            place: from the study's user attributes and a function that gives the curves of its trials to the place of
                its checkpoints (:class:`nas.checkpoint_place.CheckpointPlace`); not given, the recorded one, or the
                configuration's for a new study.
            create: a faster way of making a trial than Optuna's.
            guard: called before every write, also before each repetition of one; it raises where the study is no
                longer ours to write.
            scores_every_epoch: whether every epoch of a trial has an accuracy, or the last alone.

        Raises:
            InputError: there is a study of that name that is not senas's, or one that another configuration or other
                images began; the message shows the difference.
        """
        study_id = _study_id(storage, config.study, objectives)
        attributes = storage.get_study_user_attrs(study_id)
        if "config" in attributes:
            config = with_sites_of(config, attributes["config"])
            _check_that_it_goes_on(config, facts, attributes)
        if place is None:
            checkpoints = attributes.get("checkpoints") or new_place(config)
        else:
            checkpoints = place(attributes, lambda: _curves(storage.get_all_trials(study_id, deepcopy=False)))
        said = {
            "epochs": config.search.epochs,
            "normalisation": dict(facts.normalisation),
            "fingerprints": dict(facts.fingerprints),
            "images": dict(facts.images),
            **({} if facts.class_names is None else {"class_names": list(facts.class_names)}),
            "checkpoints": checkpoints,
            "weights": dict(facts.weights) or None,
            "database": facts.database,
            IN_UTC_FROM: attributes.get(IN_UTC_FROM, storage.get_n_trials(study_id)),
            "runs": [*attributes.get("runs", []), dict(facts.run)],
            "config": config.to_dict(),  # the last, so that a study with a configuration has all the others
        }
        for key, value in said.items():
            if attributes.get(key) != value:
                storage.set_study_user_attr(study_id, key, value)
        record = cls(storage, study_id, objectives, checkpoints, create, guard, scores_every_epoch=scores_every_epoch)
        record._settle()
        record._tell_of_other_trials(config.study)
        return record

    def trials(self) -> list[FrozenTrial]:
        """Return the trials of the search by number, as they are in the DB now.

        Trials that another program added or queued are not among them.
        """
        trials = [trial for trial in self._all_trials() if _belongs_to_the_search(trial)]
        for trial in trials:
            self._ids[trial.number] = trial._trial_id
            self._epochs_written[trial.number] = max(trial.intermediate_values, default=0)
        return trials

    def start(self, candidate: Candidate) -> int:
        """Records a trial as RUNNING and returns its number."""
        attributes: dict[str, Any] = {
            "architecture": candidate.architecture.to_dict(),
            "architecture_id": candidate.architecture.id,
            "flops": candidate.cost.flops,
            "params": candidate.cost.params,
        }
        if candidate.costs.keys() - attributes.keys():
            attributes["costs"] = dict(candidate.costs)
        if candidate.baseline is not None:
            attributes["baseline"] = candidate.baseline
        parameters, distributions = dict(candidate.parameters), dict(candidate.distributions)
        if candidate.seed is not None:
            parameters[_SEED], distributions[_SEED] = candidate.seed, IntDistribution(0, _LAST_SEED)
        template = create_trial(
            state=TrialState.RUNNING, params=parameters, distributions=distributions, user_attrs=attributes
        )
        attempts = count(1)
        trial_id, number = self._write(lambda: self._create_once(template, attempt=next(attempts)))
        self._ids[number] = trial_id
        self._epochs_written[number] = 0
        return number

    def checkpoints_of(self, number: int) -> str:
        """The folder, or the URL, that the checkpoints of a trial lie at."""
        return checkpoint_folder(self._checkpoints, number)

    def write_history(self, number: int, history: Sequence[Entry]) -> None:
        """Records what each epoch measured; epochs that were recorded before are left as they are."""
        done = self._epochs_written[number]
        if self._keeps_history and len(history) > done:
            self._write_of(number, self._storage.set_trial_user_attr, "history", [dict(entry) for entry in history])
        for epoch in range(done + 1, len(history) + 1):
            accuracy = history[epoch - 1].get("accuracy")
            if accuracy is not None:
                self._write_of(number, self._storage.set_trial_intermediate_value, epoch, accuracy)
                self._epochs_written[number] = epoch

    def write_costs(self, number: int, costs: Mapping[str, float]) -> None:
        """Records the costs of a trial, of which one was measured."""
        self._write_of(number, self._storage.set_trial_user_attr, "costs", dict(costs))

    def write_losses_of_its_process(self, number: int, losses: Sequence[Mapping[str, Any]]) -> None:
        """Records how often a trial's process was lost: after which epoch, and why."""
        self._write_of(number, self._storage.set_trial_user_attr, "lost", [dict(loss) for loss in losses])

    def end(self, number: int, ending: Ending) -> None:
        """Ends a trial. COMPLETE alone has values, so that no other can pass for a finished one."""
        said: dict[str, Any] = {"state": ending.state, "metrics": dict(ending.metrics)}
        if len(ending.history) > self._epochs_written[number]:
            said["history"] = [dict(entry) for entry in ending.history]
        if ending.values is not None:
            said["values"] = list(ending.values)
        if ending.class_accuracies:
            said["class_accuracies"] = list(ending.class_accuracies)
        if ending.reason is not None:
            said["reason"] = ending.reason
        if ending.traceback is not None:
            said["traceback"] = ending.traceback
        self._write_of(number, self._storage.set_trial_user_attr, "ending", said)
        self._carry_out(number, said)

    def _carry_out(self, number: int, ending: Mapping[str, Any]) -> None:
        self.write_history(number, ending.get("history", ()))
        for said, name in (("reason", "fail_reason"), ("traceback", "traceback")):
            if said in ending:
                self._write_of(number, self._storage.set_trial_user_attr, name, ending[said])
        state = TrialState[ending["state"]]
        self._write_of(number, self._end_once, state, ending.get("values"))

    def _settle(self) -> None:
        """Brings ends that were cut short to their end."""
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and "ending" in trial.user_attrs:
                self._carry_out(trial.number, trial.user_attrs["ending"])

    def _all_trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _tell_of_other_trials(self, study: str) -> None:
        others = [str(trial.number) for trial in self._all_trials() if not _belongs_to_the_search(trial)]
        if others:
            numbers = ", ".join(others[:_MOST_NAMED]) + (", ..." if len(others) > _MOST_NAMED else "")
            log.warning(
                "study '%s' has trials that another program added or queued (%s): the search leaves them as they are "
                "and trains its own number of trials beside them",
                study,
                numbers,
            )

    def _write(self, call: Callable[..., _T], *arguments: Any) -> _T:
        """A write that does no harm when it is repeated, repeated while the DB's server is away."""

        def guarded() -> _T:
            self._guard()
            return call(*arguments)

        try:
            return patiently(guarded)
        except KeyError as error:  # which is what Optuna says of a study or a trial that does not exist
            studies = {study._study_id for study in patiently(self._storage.get_all_studies)}
            if self._study_id in studies:
                raise
            raise StudyDeletedError(
                "another program has deleted the study from the study DB, so the search ends. Its checkpoints are "
                f"still in {self._checkpoints}; start the same command again to begin the study anew"
            ) from error

    def _write_of(self, number: int, call: Callable[..., object], *arguments: Any) -> None:
        """Write something of a trial, as :meth:`_write` does.

        Raises:
            EndedElsewhereError: another program has ended the trial.
        """
        trial_id = self._ids[number]
        try:
            self._write(call, trial_id, *arguments)
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise EndedElsewhereError(patiently(self._storage.get_trial, trial_id)) from error

    def _create_once(self, template: FrozenTrial, attempt: int) -> tuple[int, int]:
        """Creates a trial, unless an attempt before did and only its answer was lost."""
        if attempt > 1:
            known = set(self._ids.values())
            for trial in self._storage.get_all_trials(self._study_id, deepcopy=False, states=(TrialState.RUNNING,)):
                same = trial.user_attrs.get("architecture_id") == template.user_attrs["architecture_id"]
                if same and seed_of(trial) == seed_of(template) and trial._trial_id not in known:
                    return trial._trial_id, trial.number
        return self._create(self._study_id, template)

    def _create_by_optuna(self, study_id: int, template: FrozenTrial) -> tuple[int, int]:
        trial_id = self._storage.create_new_trial(study_id, template_trial=template)
        return trial_id, self._storage.get_trial_number_from_id(trial_id)

    def _end_once(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> None:
        try:
            self._storage.set_trial_state_values(trial_id, state, values)
        except optuna.exceptions.UpdateFinishedTrialError:
            if self._storage.get_trial(trial_id).state != state:
                raise


_OF_EVERY_TRIAL = {"architecture", "architecture_id", "flops", "params"}
"""The user attributes that :meth:`StudyRecord.start` gives to every trial."""


def _belongs_to_the_search(trial: FrozenTrial) -> bool:
    """Return whether a search made a trial, which another program may have ended."""
    return trial.state != TrialState.WAITING and trial.user_attrs.keys() >= _OF_EVERY_TRIAL


def history_of(trial: FrozenTrial) -> list[dict[str, float]]:
    """What a recorded trial measured after each epoch."""
    history = [dict(entry) for entry in trial.user_attrs.get("history", [])]
    history += [{} for _ in range(max(trial.intermediate_values, default=0) - len(history))]
    for epoch, accuracy in trial.intermediate_values.items():
        history[epoch - 1]["accuracy"] = accuracy
    return history


def _curves(trials: Iterable[FrozenTrial]) -> Curves:
    return {
        trial.number: {epoch: entry.get("accuracy") for epoch, entry in enumerate(history_of(trial), 1)}
        for trial in trials
    }


def seed_of(trial: FrozenTrial) -> int | None:
    """The seed of a recorded trial's training, where that is not the study's."""
    return trial.params.get(_SEED)


def costs_of(trial: FrozenTrial) -> dict[str, float]:
    """What a recorded trial costs, by objective."""
    attributes = trial.user_attrs
    return {"flops": attributes["flops"], "params": attributes["params"], **attributes.get("costs", {})}


def _study_id(storage: BaseStorage, name: str, objectives: Sequence[Objective]) -> int:
    """The study of a name, created if it is not there.

    One without attributes, parameters or trials was left by a driver that was killed while it was made.
    """
    directions = [StudyDirection[objective.direction.upper()] for objective in objectives]
    names = [objective.name for objective in objectives]
    known = {study.study_name: study for study in storage.get_all_studies()}
    if name not in known:
        study = optuna.create_study(study_name=name, storage=storage, directions=directions)
        _name_objectives(study, names)
        return study._study_id
    study_id = known[name]._study_id
    if "config" in storage.get_study_user_attrs(study_id):
        return study_id
    study = optuna.load_study(study_name=name, storage=storage)
    if study.user_attrs.keys() - _WRITTEN_BEFORE_THE_CONFIG or study.trials or study.directions != directions:
        raise InputError(f"study '{name}' was not made by senas: choose another name with --study")
    _name_objectives(study, names)
    return study_id


_WRITTEN_BEFORE_THE_CONFIG = {
    "epochs",
    "normalisation",
    "fingerprints",
    "images",
    "class_names",
    "checkpoints",
    "weights",
    "database",
    IN_UTC_FROM,
    "runs",
}


def _name_objectives(study: optuna.Study, names: list[str]) -> None:
    with warnings.catch_warnings():
        # "Experimental" since Optuna 3.2, and the only way to name objectives.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(names)


def _check_that_it_goes_on(config: Config, facts: Facts, attributes: Mapping[str, Any]) -> None:
    """Refuses to mix two configurations, or two versions of the images, in one study."""
    before, now = recorded_config(attributes["config"]).identity(), config.identity()
    changed = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
    if changed:
        raise InputError(
            f"study '{config.study}' was begun with {_listed(before, changed)}, not {_listed(now, changed)}: "
            "undo the change, or begin another study with --study"
        )
    weights = attributes.get("weights") or {}
    for label, digest in facts.weights.items():
        if weights.get(label, digest) != digest:
            raise InputError(
                f"the weights file of {label} is not the one that study '{config.study}' was begun with (SHA-256 "
                f"{weights[label][:12]}, now {digest[:12]}): bring it back, or begin another study with --study"
            )
    fingerprints = attributes.get("fingerprints", facts.fingerprints)
    other = [name for name in facts.fingerprints if fingerprints.get(name) != facts.fingerprints[name]]
    if other:
        raise InputError(
            f"the {' and '.join(other)} images of {config.data.name} are not those that study '{config.study}' was "
            f"begun with ({_counted(attributes.get('images'), facts, other[0])}fingerprint "
            f"{fingerprints.get(other[0])}, now {facts.fingerprints[other[0]]}): "
            "bring the images back, or begin another study with --study"
            + (_PERHAPS_HELD_OTHERWISE if config.data.stream is None and config.data.root is not None else "")
            + (_PERHAPS_READ_OTHERWISE if config.data.in_files else "")
        )


def _counted(before: Mapping[str, int] | None, facts: Facts, split: str) -> str:
    """How many images there were and are, if that is known to differ."""
    then, now = (before or {}).get(split), facts.images.get(split)
    return f"{then:,} images, now {now:,}; " if then is not None and now is not None and then != now else ""


def _listed(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    return ", ".join(f"{key} = {values.get(key)}" for key in sorted(keys))
