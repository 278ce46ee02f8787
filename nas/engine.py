"""What is trained next, whether it goes on, and what is recorded of it: a search without whatever runs its trials.

Order of business: trials that were interrupted, trials that ASHA promotes, baselines the study does not have yet, then
new proposals until the study has as many trials as asked for. Everything that decides is in the study DB: an engine
made from it goes on as the one before it would have.

Whatever runs the trials asks :meth:`Engine.next` for an assignment and tells what becomes of it. An assignment is over
when the trial has ended, and also when it is paused; a paused trial comes back as another assignment.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from traceback import format_exc
from typing import Any, cast

from optuna.trial import FrozenTrial, TrialState

from nas.asha import Asha, Verdict
from nas.objectives import Entry, Objective, losses_of, values_at
from nas.proposer import Proposal, Proposes
from nas.record import (
    Candidate,
    EndedElsewhereError,
    Ending,
    EndState,
    StudyRecord,
    costs_of,
    history_of,
    seed_of,
)
from nas.stall import StallRule
from search_space.architecture import Architecture
from search_space.costs import Cost
from search_space.errors import first_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assignment:
    """A trial that is to be trained from where it is.

    Attributes:
        costs: what is known of the trial before training, by objective.
        checkpoint: where its checkpoints lie, a folder or a URL.
        epochs: how many are recorded.
    """

    number: int
    architecture: Architecture
    costs: Mapping[str, float]
    baseline: str | None
    checkpoint: str
    epochs: int
    seed: int


@dataclass(frozen=True)
class Given:
    """An architecture that is trained whatever else is proposed.

    Attributes:
        name: of the baseline that it is.
        seed: of its training, if that is not the study's.
    """

    architecture: Architecture
    name: str | None = None
    seed: int | None = None

    @property
    def key(self) -> tuple[str, int | None]:
        """What is trained once."""
        return self.architecture.id, self.seed


class Listener:
    """Told of what happens; does nothing."""

    def begun(self, ended: int) -> None:
        """The search begins; so many trials of its study have ended before."""

    def started(self, assignment: Assignment) -> None:
        """A trial is being trained."""

    def progressed(self, number: int, history: Sequence[Entry]) -> None:
        """A trial has finished an epoch."""

    def paused(self, number: int) -> None:
        """A trial waits to go on."""

    def lost(self, number: int, reason: str) -> None:
        """A trial's process was lost; the trial is to go on from its last checkpoint."""

    def ended(self, number: int, ending: Ending) -> None:
        """A trial has ended."""

    def tick(self) -> None:
        """Time has passed."""


@dataclass
class _Trial:
    number: int
    given: Given
    costs: dict[str, float]
    history: list[Entry] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False

    @property
    def architecture(self) -> Architecture:
        return self.given.architecture

    @property
    def is_baseline(self) -> bool:
        return self.given.name is not None


@dataclass(frozen=True)
class Settings:
    """What an engine does.

    Attributes:
        trials: how many the study is to have in the end.
        epochs: the full budget of a trial.
        seed: of a trial's training.
        retries: how often in a row, without an epoch done in between, a lost trial goes on.
    """

    trials: int
    epochs: int
    seed: int = 0
    retries: int = 1


class Engine:
    """One search.

    Args:
        record: the study.
        proposer: what is tried besides what is given.
        asha: decides who goes on; None lets every trial use its full budget.
        price: the cost of an architecture.
        price_objectives: the values of the objectives that are priced; where it raises, the trial has failed.
        given: architectures that the study is to hold; tried first, and those with a name are never stopped.
        slots: how many trials can be trained at once, asked whenever there may be room for one more.
        stall: ends the search when the front has stopped growing.

    Attributes:
        halted: why no trial can go on, if that is so.
    """

    def __init__(
        self,
        record: StudyRecord,
        proposer: Proposes,
        asha: Asha | None,
        settings: Settings,
        *,
        objectives: Sequence[Objective],
        price: Callable[[Architecture], Cost],
        price_objectives: Callable[[Architecture], dict[str, float]],
        given: Sequence[Given],
        slots: Callable[[], int],
        stall: StallRule | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._record = record
        self._proposer = proposer
        self._asha = asha
        self._settings = settings
        self._objectives = tuple(objectives)
        self._price = price
        self._price_objectives = price_objectives
        self._slots = slots
        self._stall = stall
        self._listener = listener or Listener()
        self._trials: dict[int, _Trial] = {}
        self._running: dict[int, Assignment] = {}
        self._training: set[int] = set()
        self._paused: dict[int, None] = {}
        self._interrupted: deque[int] = deque()
        self._draining = False
        self._found_no_more = False
        self.halted: str | None = None
        self._has_warned = False
        self._wanted = {entry.key for entry in given}
        present = self._take_in(record.trials())
        self._given = deque(entry for entry in given if entry.key not in present)

    @property
    def has_work(self) -> bool:
        """Whether a trial is left to be started, to go on or to be ended."""
        return bool(self._interrupted or self._paused) or self._wants_more

    @property
    def exhausted(self) -> bool:
        """Whether the space holds no architecture that was not tried."""
        return self._found_no_more or self._proposer.exhausted

    @property
    def stalled(self) -> bool:
        """Whether the front has stopped growing, by the rule."""
        return self._stall is not None and self._stall.holds

    @property
    def finished(self) -> bool:
        """Whether no assignment is out and none will be given any more."""
        return not self._running and (self._draining or not self.has_work)

    @property
    def has_assigned(self) -> bool:
        """Whether an assignment is out."""
        return bool(self._running)

    @property
    def training(self) -> frozenset[int]:
        """The trials that an epoch is being trained of."""
        return frozenset(self._training)

    def next(self) -> Assignment | None:
        """The next trial to be trained; None where there is none now, or no room.

        When nothing more is promoted or proposed, the trials that are still paused are ended as stopped.
        """
        if self._draining or len(self._running) >= self._slots():
            return None
        number = self._interrupted.popleft() if self._interrupted else self._promoted()
        while number is None and self._wants_more:
            number = self._begin()
        if number is None:
            if not self._running:
                self._stop_the_paused()
            return None
        trial = self._trials[number]
        checkpoint = self._record.checkpoints_of(number)
        self._running[number] = Assignment(
            number,
            trial.architecture,
            trial.costs,
            trial.given.name,
            checkpoint,
            len(trial.history),
            self._settings.seed if trial.given.seed is None else trial.given.seed,
        )
        return self._running[number]

    def started(self, number: int) -> None:
        """An assignment has its process."""
        self._training.add(number)
        self._listener.started(self._running[number])

    def report(
        self,
        number: int,
        history: Sequence[Entry],
        costs: Mapping[str, float] | None = None,
        class_accuracies: Sequence[float | None] = (),
    ) -> Verdict:
        """Records what each epoch so far has measured, and says whether the assignment goes on.

        Args:
            costs: those that were measured as the trial started.
            class_accuracies: accuracy on each class after the last epoch of the full budget; recorded at its end.
        """
        try:
            return self._report(number, history, costs, class_accuracies)
        except EndedElsewhereError as error:
            self._take_as_ended(error)
            return Verdict.STOP

    def _report(
        self,
        number: int,
        history: Sequence[Entry],
        costs: Mapping[str, float] | None,
        class_accuracies: Sequence[float | None],
    ) -> Verdict:
        trial = self._trials[number]
        if costs and any(trial.costs.get(name) != value for name, value in costs.items()):
            trial.costs |= costs
            self._record.write_costs(number, trial.costs)
        self._compare_with_what_was_done(self._running[number], len(history))
        trial.history = list(history)
        self._listener.progressed(number, history)
        if len(history) >= self._settings.epochs:
            self._complete(trial, class_accuracies)
            return Verdict.STOP
        verdict = Verdict.GO_ON
        if self._asha is not None:
            verdict = self._asha.record(number, losses_of(self._objectives, history, trial.costs))
        if trial.is_baseline and verdict is not Verdict.GO_ON:
            self._withdraw(number)
            verdict = Verdict.GO_ON
        if verdict is Verdict.STOP:
            self._stop(trial)
            return verdict
        self._record.write_history(number, history)
        if verdict is Verdict.PAUSE:
            self._paused[number] = None
        elif self._draining:
            self._interrupted.append(number)
            verdict = Verdict.PAUSE
        if verdict is Verdict.PAUSE:
            self._let_go(number)
            self._listener.paused(number)
        return verdict

    def fail(self, number: int, reason: str, traceback: str | None = None) -> None:
        """A trial broke by a fault of its own, such as a loss that is not a number."""
        trial = self._trials[number]
        try:
            self._end(trial, Ending("FAIL", trial.history, reason=reason, traceback=traceback))
        except EndedElsewhereError as error:
            self._take_as_ended(error)
        else:
            self._proposer.fail(trial.architecture)

    def lose(self, number: int, reason: str) -> None:
        """The process of a trial was lost: it goes on from its last checkpoint, a bounded number of times in a row."""
        trial = self._trials[number]
        trial.lost.append({"epoch": len(trial.history), "reason": reason})
        try:
            self._record.write_losses_of_its_process(number, trial.lost)
        except EndedElsewhereError as error:
            self._take_as_ended(error)
            return
        in_a_row = sum(loss["epoch"] == len(trial.history) for loss in trial.lost)
        if in_a_row > self._settings.retries:
            times = f" ({in_a_row} times in a row at epoch {len(trial.history) + 1})" if in_a_row > 1 else ""
            self.fail(number, f"{reason}{times}")
            return
        self._let_go(number)
        self._interrupted.append(number)
        self._listener.lost(number, reason)

    def halt(self, number: int, reason: str) -> None:
        """A trial cannot go on for want of something that all trials need: the search ends, to go on another time."""
        self.halted = self.halted or reason
        self._let_go(number)
        self._interrupted.append(number)
        self._listener.paused(number)
        self.drain()

    def begin(self) -> None:
        """Whatever runs the trials is ready to."""
        self._listener.begun(sum(trial.ended for trial in self._trials.values()))

    def drain(self) -> None:
        """Gives out nothing more; what is being trained is paused at the end of its epoch."""
        self._draining = True

    def tick(self) -> None:
        """Time has passed."""
        self._listener.tick()

    @property
    def _wants_more(self) -> bool:
        if len(self._trials) >= self._settings.trials or self.stalled:
            return False
        return bool(self._given) or not self.exhausted

    def _take_in(self, recorded: Sequence[FrozenTrial]) -> set[tuple[str, int | None]]:
        """Remembers every recorded trial, finds out which are to go on, and returns what was trained."""
        paused = set()
        for found in recorded:
            architecture = Architecture.from_dict(found.user_attrs["architecture"])
            given = Given(architecture, found.user_attrs.get("baseline"), seed_of(found))
            trial = _Trial(found.number, given, costs_of(found))
            trial.history = list(history_of(found))
            trial.lost = list(found.user_attrs.get("lost", []))
            trial.ended = found.state.is_finished()
            self._trials[found.number] = trial
            if self._asha is not None and trial.history and self._is_priced(trial):
                curve = losses_of(self._objectives, trial.history, trial.costs)
                if self._asha.record(trial.number, curve) is Verdict.PAUSE:
                    paused.add(trial.number)
        for found in sorted(recorded, key=_ended_at):
            self._remember_the_end(found)
        for found in recorded:
            trial = self._trials[found.number]
            self._remember(trial, found)
            if trial.ended or trial.is_baseline:
                self._withdraw(trial.number)
            if trial.number in paused and not trial.is_baseline and not trial.ended:
                self._paused[trial.number] = None
            elif not trial.ended and self._is_still_wanted(trial.given):
                self._interrupted.append(trial.number)
        return {self._trials[found.number].given.key for found in recorded if not _may_be_tried_again(found)}

    def _is_still_wanted(self, given: Given) -> bool:
        """Whether to go on with what was begun; of an evaluation's trials, only with those asked for now."""
        return given.seed is None or given.key in self._wanted

    def _remember_the_end(self, found: FrozenTrial) -> None:
        """Tells the rule of stalling, for which the order in which trials ended matters."""
        if self._stall is not None and found.state.is_finished():
            if found.state == TrialState.COMPLETE:
                self._stall.completed(found.values)
            else:
                self._stall.ended()

    def _remember(self, trial: _Trial, found: FrozenTrial) -> None:
        proposed = not trial.is_baseline
        if found.state == TrialState.PRUNED and trial.history:
            reached = values_at(self._objectives, trial.history[-1], trial.costs)
            self._proposer.remember(
                trial.architecture, found, proposed=proposed, shortfall=self._shortfall(trial), reached=reached
            )
        else:
            self._proposer.remember(trial.architecture, found, proposed=proposed)

    def _begin(self) -> int | None:
        """Records a new trial, a baseline or a proposal; None if nothing is left to propose, or it failed at once."""
        given, proposal = self._proposal()
        if proposal is None:
            self._found_no_more = True
            return None
        architecture = proposal.architecture
        given = given or Given(architecture)
        cost, costs, broken = self._price(architecture), dict[str, float](), None
        try:
            costs = self._price_objectives(architecture)
        except Exception as error:  # code of the user's, and a fault of this trial's alone
            broken = Ending("FAIL", reason=f"{type(error).__name__}: {first_line(error)}", traceback=format_exc())
        candidate = Candidate(
            architecture, cost, costs, proposal.parameters, proposal.distributions, given.name, given.seed
        )
        number = self._record.start(candidate)
        known = {"flops": float(cost.flops), "params": float(cost.params), **costs}
        self._trials[number] = _Trial(number, given, known)
        if broken is None:
            return number
        self._end(self._trials[number], broken)
        self._proposer.fail(architecture)
        return None

    def _proposal(self) -> tuple[Given | None, Proposal | None]:
        if self._given:
            given = self._given.popleft()
            return given, self._proposer.start(given.architecture)
        return None, self._proposer.propose()

    def _promoted(self) -> int | None:
        number = None if self._asha is None else self._asha.promote()
        if number is not None:
            del self._paused[number]
        return number

    def _stop_the_paused(self) -> None:
        for number in list(self._paused):
            del self._paused[number]
            try:
                self._stop(self._trials[number])
            except EndedElsewhereError as error:
                self._take_as_ended(error)

    def _complete(self, trial: _Trial, class_accuracies: Sequence[float | None]) -> None:
        values = values_at(self._objectives, trial.history[-1], trial.costs)
        ending = Ending("COMPLETE", trial.history, values, metrics=_metrics(trial), class_accuracies=class_accuracies)
        self._end(trial, ending)
        self._proposer.complete(trial.architecture, values)

    def _stop(self, trial: _Trial) -> None:
        self._end(trial, Ending("PRUNED", trial.history, metrics=_metrics(trial)))
        reached = values_at(self._objectives, trial.history[-1], trial.costs)
        self._proposer.stop(trial.architecture, reached, self._shortfall(trial))

    def _take_as_ended(self, ended: EndedElsewhereError) -> None:
        """Leave a trial as another program has ended it, and go on with the others."""
        found, trial = ended.found, self._trials[ended.found.number]
        log.warning("%s: it is left as that, and the search continues with the others", ended)
        state, values = cast(EndState, found.state.name), found.values
        self._note_the_end(trial, Ending(state, trial.history, values, reason="ended by another program"))
        if values is None:
            self._proposer.fail(trial.architecture)
        else:
            self._proposer.complete(trial.architecture, values)

    def _end(self, trial: _Trial, ending: Ending) -> None:
        self._record.end(trial.number, ending)
        self._note_the_end(trial, ending)

    def _note_the_end(self, trial: _Trial, ending: Ending) -> None:
        trial.ended = True
        self._let_go(trial.number)
        self._withdraw(trial.number)
        if self._stall is not None:
            if ending.values is None:
                self._stall.ended()
            else:
                self._stall.completed(ending.values)
        self._listener.ended(trial.number, ending)

    def _compare_with_what_was_done(self, assignment: Assignment, epochs: int) -> None:
        if epochs < assignment.epochs and not self._has_warned:
            self._has_warned = True
            log.warning(
                "trial %s goes on from epoch %s, though %s were done: does every node reach its checkpoints at %s?",
                assignment.number,
                epochs,
                assignment.epochs,
                assignment.checkpoint,
            )

    def _let_go(self, number: int) -> None:
        self._running.pop(number, None)
        self._training.discard(number)

    def _withdraw(self, number: int) -> None:
        if self._asha is not None:
            self._asha.withdraw(number)

    def _is_priced(self, trial: _Trial) -> bool:
        """Whether all costs that are objectives are known; a latency is not before the trial has started."""
        return all(o.source == "measured" or o.name in trial.costs for o in self._objectives)

    def _shortfall(self, trial: _Trial) -> float:
        """The share of the full budget that a stopped trial lacks; of one rung, those that stood better lack less."""
        standing = 0.0 if self._asha is None else self._asha.standing(trial.number)
        return 1 - (len(trial.history) - standing) / self._settings.epochs


def _may_be_tried_again(found: FrozenTrial) -> bool:
    """A trial of an evaluation that broke: its seed's place in the comparison cannot be taken by another."""
    return found.state == TrialState.FAIL and seed_of(found) is not None


def _ended_at(found: FrozenTrial) -> datetime:
    return found.datetime_complete or datetime.max


def _metrics(trial: _Trial) -> dict[str, float]:
    """The figures of the last epoch besides the accuracy."""
    return {name: value for name, value in trial.history[-1].items() if name != "accuracy"}
