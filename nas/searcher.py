"""The searcher that Ray Tune asks for trials and tells results: it joins the proposer to the study DB.

Order of business: trials that were running when the last driver stopped, baselines the study does not have yet,
then new proposals until the study has as many trials as asked for.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from nas.proposer import Proposal, Proposer
from nas.record import Candidate, StudyRecord
from search_space.architecture import Architecture
from search_space.costs import Cost


@dataclass(frozen=True)
class Running:
    """A trial that Ray has been given."""

    number: int
    architecture: Architecture
    flops: int
    is_baseline: bool


class StudySearcher(Searcher):
    """Proposes from, and records into, one study.

    Args:
        recorded: the trials that the study has so far.
        total: how many trials the study is to have in the end.
        epochs: the full budget of a trial.
        price: the cost of an architecture.
        baselines: architectures that every study holds, by name; tried first.
    """

    def __init__(
        self,
        record: StudyRecord,
        recorded: Iterable[FrozenTrial],
        proposer: Proposer,
        *,
        total: int,
        epochs: int,
        price: Callable[[Architecture], Cost],
        baselines: Mapping[str, Architecture],
    ) -> None:
        super().__init__()
        self._record = record
        self._proposer = proposer
        self._total = total
        self._epochs = epochs
        self._price = price
        self._count = 0
        self._interrupted: deque[Running] = deque()
        self._running: dict[str, Running] = {}
        self._found_no_more = False
        present = self._take_in(recorded)
        self._baselines = deque(
            (name, architecture) for name, architecture in baselines.items() if architecture.id not in present
        )

    @property
    def has_work(self) -> bool:
        """Whether a trial is left to be started."""
        wanted = self._count < self._total
        return bool(self._interrupted) or (wanted and (bool(self._baselines) or not self.exhausted))

    @property
    def exhausted(self) -> bool:
        """Whether the space holds no architecture that was not tried."""
        return self._found_no_more or self._proposer.exhausted

    def suggest(self, trial_id: str) -> Any:
        """The next trial as Ray's configuration of it, or Ray's word for a search that is finished."""
        if self._interrupted:
            return self._hand_out(trial_id, self._interrupted.popleft())
        if self._count >= self._total:
            return Searcher.FINISHED
        name, proposal = self._next_proposal()
        if proposal is None:
            self._found_no_more = True
            return Searcher.FINISHED
        cost = self._price(proposal.architecture)
        candidate = Candidate(proposal.architecture, cost, proposal.parameters, proposal.distributions, name)
        number = self._record.start(candidate)
        self._count += 1
        return self._hand_out(trial_id, Running(number, proposal.architecture, cost.flops, name is not None))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Records the epochs of a trial that goes on."""
        self._record.write_curve(self._running[trial_id].number, result["curve"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Records the end of a trial: by its full budget, by ASHA, or by a failure.

        Without a result and without an error, Ray only lets go of a trial that is to go on another time.
        """
        running = self._running.pop(trial_id, None)
        if running is None or (result is None and not error):
            return
        if error or result is None:
            self._fail(running, "the worker process ended unexpectedly")
            return
        self._record.write_curve(running.number, result["curve"])
        if result.get("fail_reason"):
            self._fail(running, result["fail_reason"], result.get("traceback"))
            return
        metrics = {key: result[key] for key in ("loss", "top5") if result.get(key) is not None}
        if len(result["curve"]) < self._epochs:
            self._record.prune(running.number, metrics)
            self._proposer.tell(running.architecture, TrialState.PRUNED)
            return
        values = (result["curve"][-1], float(running.flops))
        self._record.complete(running.number, values, metrics)
        self._proposer.tell(running.architecture, TrialState.COMPLETE, values)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study DB has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study DB has it all."""

    def _take_in(self, recorded: Iterable[FrozenTrial]) -> set[str]:
        """Remembers every recorded architecture, queues the interrupted trials, and returns the ids."""
        present = set()
        for trial in recorded:
            architecture = Architecture.from_dict(trial.user_attrs["architecture"])
            self._proposer.remember(architecture, trial)
            present.add(architecture.id)
            self._count += 1
            if trial.state == TrialState.RUNNING:
                running = Running(trial.number, architecture, trial.user_attrs["flops"], "baseline" in trial.user_attrs)
                self._interrupted.append(running)
        return present

    def _next_proposal(self) -> tuple[str | None, Proposal | None]:
        if self._baselines:
            name, architecture = self._baselines.popleft()
            return name, self._proposer.start(architecture)
        return None, self._proposer.propose()

    def _hand_out(self, trial_id: str, running: Running) -> dict[str, Any]:
        self._running[trial_id] = running
        # As text, because Ray flattens nested configurations into names of folders.
        return {
            "number": running.number,
            "architecture": json.dumps(running.architecture.to_dict()),
            "flops": running.flops,
            "is_baseline": running.is_baseline,
            "checkpoint": str(self._record.checkpoint_folder(running.number)),
        }

    def _fail(self, running: Running, reason: str, traceback: str | None = None) -> None:
        self._record.fail(running.number, reason, traceback)
        self._proposer.tell(running.architecture, TrialState.FAIL)
