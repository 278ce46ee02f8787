"""Has a study's architectures trained: everything is checked first, then the study is opened, then Ray trains.

The study DB is the only state. What Ray keeps of its own goes to a temporary folder and is forgotten.
"""

import logging
import math
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from ray import tune
from ray.exceptions import RayError

from nas import cluster
from nas.assembly import make_engine
from nas.checkpoint_place import CheckpointPlace
from nas.cluster import Needs
from nas.config import Config, with_sites_of
from nas.engine import Engine, Listener
from nas.interruption import Interruption
from nas.lease import Lease
from nas.objectives import Objective
from nas.plan import plan
from nas.provenance import this_run
from nas.ray_client import is_ray_client, run_on_the_cluster
from nas.ray_tune import AshaScheduler, SearchStopper, StudySearcher, every_death_told
from nas.record import Facts, StudyRecord
from nas.storage import check_of_presence, failures_explained, open_storage, writing_engine
from nas.trainable import Job, TrialActor
from nas.trial_rows import create_by_rows
from results.checkpoint_places import database_file
from results.database import reading
from results.files import sha256
from results.remote import is_remote
from results.study import find_study, open_study
from results.study_names import check_study_name
from search_space.architecture import Backbone
from search_space.building import check_weights
from search_space.errors import InputError, first_line
from search_space.several import label
from search_space.weights import Weights
from trainers.data.splits import Splits, fingerprint, search_splits
from trainers.run import check_recipe

log = logging.getLogger(__name__)

MakeEngine = Callable[[StudyRecord, Callable[[], int], Listener], Engine]
"""From (study, how many trials can be trained at once, whom to tell) to the engine that goes on with the study."""


@dataclass(frozen=True)
class Outcome:
    """How a search came to its end.

    Attributes:
        exhausted: the space holds no architecture that was not tried.
        stalled: the front has stopped growing, by the rule of the configuration.
        signal: what interrupted it, if something did.
    """

    exhausted: bool
    stalled: bool
    signal: signal.Signals | None


@dataclass(frozen=True)
class Work:
    """What is to be trained for a study, all that can be checked beforehand being checked.

    Attributes:
        weights: what to load into a backbone before training, for those that have something.
        held_out: what the images are called that score.
        scores_every_epoch: whether they score every epoch, or the last alone.
    """

    config: Config
    objectives: tuple[Objective, ...]
    weights: Mapping[Backbone, Weights]
    data: Splits
    held_out: str
    scores_every_epoch: bool
    make_engine: MakeEngine


def search(
    config: Config,
    storage: str,
    *,
    address: str | None = None,
    time_budget: timedelta | None = None,
    checkpoints: str | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Runs the search of a configuration, or goes on with it, until its study has all of its trials.

    Raises as :func:`carry_out` does, whose arguments it takes.
    """
    prepare = partial(_prepare_search, config, storage)
    return carry_out(
        prepare,
        config,
        storage,
        address=address,
        time_budget=time_budget,
        checkpoints=checkpoints,
        listener=listener,
    )


def carry_out(
    prepare: Callable[[], Work],
    config: Config,
    storage: str,
    *,
    address: str | None = None,
    time_budget: timedelta | None = None,
    checkpoints: str | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Trains what a study is to hold and does not yet.

    The first SIGINT or SIGTERM lets the running epochs finish, as the end of the time budget does; the second ends
    everything at once.

    Args:
        prepare: checks all that can be checked, where the training is driven from.
        config: that of the work.
        storage: the study DB's URL.
        address: of a Ray cluster; None starts Ray on this machine for as long as it takes. With ``ray://`` the
            training is driven from the cluster.
        time_budget: end after this long; what is running then goes on the next time.
        checkpoints: the absolute path or the URL of the place that the study's checkpoints have been moved to, or are
            to be written to from now on; not given, they are looked for.
        listener: told of what happens.

    Raises:
        InputError: something in the configuration, the data, the resources or the DB is wrong, or another driver has
            the study; then nothing has been started and no study begun.
        LeaseLostError: another driver has taken the study over.
        SystemExit: there was a second signal.
        StorageFailedError: the study DB cannot be written any more, as when its disk is full.
        RuntimeError: no checkpoint can be written; what was running goes on the next time.
    """
    listener = listener or Listener()
    _check_the_name(config.study, storage)
    if address is not None:
        cluster.check_that_it_answers(address)
    if address is not None and is_ray_client(address):
        there = partial(carry_out, prepare, checkpoints=checkpoints)
        return run_on_the_cluster(there, config, storage, address=address, time_budget=time_budget, listener=listener)
    work = prepare()
    for backbone, weights in work.weights.items():
        check_weights(backbone, weights)
    with ExitStack() as stack:
        if address is not None:
            stack.enter_context(cluster.connected(address, config))
        else:
            _check_that_files_can_be_written(config)
        nodes = cluster.this_machine() if address is None else cluster.nodes_of_the_cluster()
        needs = cluster.needs_of_a_trial(config.resources, nodes)
        if address is None or config.resources.max_concurrent is None:
            cluster.check_that_one_fits(needs, nodes)
        opened = open_storage(storage)
        stack.enter_context(failures_explained(storage))
        is_there = check_of_presence(storage)
        rows = writing_engine(storage)
        stack.callback(rows.dispose)
        lease = stack.enter_context(Lease.take(rows, config.study))

        def guard() -> None:
            lease.check()
            is_there()

        record = StudyRecord.open(
            opened,
            work.config,
            work.objectives,
            _facts(work, storage),
            create=create_by_rows(rows),
            guard=guard,
            scores_every_epoch=work.scores_every_epoch,
            place=CheckpointPlace(config, storage, checkpoints),
        )
        interruption = Interruption(log.warning)
        engine = work.make_engine(record, _slots(config, needs, on_this_machine=address is None), listener)
        if engine.has_work:
            if address is None:
                stack.enter_context(cluster.connected(None, config))
                cluster.check_that_one_fits(needs, cluster.nodes_of_the_cluster())  # a container may have less
            stack.enter_context(interruption)  # after Ray, which takes SIGTERM for itself
            deadline = math.inf if time_budget is None else time.monotonic() + time_budget.total_seconds()

            def ends() -> bool:
                lease.check()
                return interruption.signal is not None or time.monotonic() > deadline

            train(engine, _trainable(work, needs), ends, config.study)
        if engine.halted is not None:
            raise RuntimeError(f"{engine.halted}. Nothing is lost: mend it and start the same command again to go on")
        return Outcome(engine.exhausted, engine.stalled, interruption.signal)


def train(engine: Engine, trainable: type[tune.Trainable], ends: Callable[[], bool], name: str) -> None:
    """Has Ray run the trials of an engine.

    Args:
        ends: whether the search is to end when the running epochs do.
    """
    scheduler = AshaScheduler(engine)
    stopper = SearchStopper(engine, scheduler, ends)
    with tempfile.TemporaryDirectory(prefix="senas-ray-") as scratch, every_death_told():
        try:
            tune.run(
                trainable,
                name=name,
                search_alg=StudySearcher(engine, ends),
                scheduler=scheduler,
                stop=stopper,
                callbacks=[stopper],
                num_samples=-1,  # the searcher says when it is finished
                reuse_actors=True,
                max_failures=0,  # the engine gives out again what was lost
                raise_on_failed_trial=False,
                storage_path=scratch,
                trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:05d}-{trial.trial_id}",
                verbose=0,
            )
        except RayError as error:
            if not engine.finished:
                raise
            log.warning("an actor could not be ended in peace: %s", first_line(error))


def _slots(config: Config, needs: Needs, *, on_this_machine: bool) -> Callable[[], int]:
    most = config.resources.max_concurrent
    fits = cluster.slots(needs)

    def now() -> int:
        if most is None:
            return fits()
        # On a cluster the limit is taken at its word: what waits for room is what makes a cluster grow.
        return min(most, fits()) if on_this_machine else most

    return now


def _trainable(work: Work, needs: Needs) -> type[tune.Trainable]:
    config = work.config
    job = Job(
        data=work.data,
        weights=work.weights,
        recipe=config.recipe,
        epochs=config.search.epochs,
        threads=max(1, math.floor(needs["cpu"])),
        device="cuda" if needs["gpu"] else "cpu",
        objectives=work.objectives,
        scores_every_epoch=work.scores_every_epoch,
        checkpoint_every_s=60 * config.resources.checkpoint_minutes,
    )
    trainable: type[tune.Trainable] = tune.with_resources(tune.with_parameters(TrialActor, job=job), needs)
    return trainable


def _prepare_search(config: Config, storage: str) -> Work:
    config = _as_begun(config, storage)
    planned = plan(config)
    data = search_splits(config.data)
    check_recipe(config.recipe, config.search.epochs, data)
    return Work(
        config,
        planned.objectives,
        planned.weights,
        data,
        held_out="validation",
        scores_every_epoch=True,
        make_engine=lambda record, slots, listener: make_engine(planned, record, slots=slots, listener=listener),
    )


def _as_begun(config: Config, storage: str) -> Config:
    """Return a configuration with what it does not say and the study that it continues has recorded."""
    try:
        recorded = open_study(storage, config.study).config
    except InputError:  # there is no such study, or none can be read, which opening it for writing will tell
        recorded = None
    return config if recorded is None else with_sites_of(config, recorded)


def _check_the_name(study: str, storage: str) -> None:
    """Check the name of a study that does not exist yet."""
    try:
        check_study_name(study)
    except InputError as invalid:
        try:
            with reading(storage) as connection:
                find_study(connection, study)
        except InputError:
            raise invalid from None


def _check_that_files_can_be_written(config: Config) -> None:
    """Otherwise the first checkpoints would find out, after an epoch of every trial."""
    key, place = ("output", config.output) if config.checkpoints is None else ("checkpoints", config.checkpoints)
    if is_remote(place):
        return
    folder = Path(place).expanduser().absolute()
    exists = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=exists):
            pass
    except OSError as error:
        raise InputError(
            f"{key}: nothing can be written in {exists} ({error.strerror}): name another folder"
        ) from error


def _facts(work: Work, storage: str) -> Facts:
    database = database_file(storage)
    return Facts(
        normalisation=asdict(work.data.normalization),
        fingerprints={"training": fingerprint(work.data.train), work.held_out: fingerprint(work.data.held_out)},
        run=this_run(),
        images={"training": len(work.data.train), work.held_out: len(work.data.held_out)},
        weights={
            label(backbone, work.weights): sha256(chosen.file)
            for backbone, chosen in work.weights.items()
            if chosen.file is not None
        },
        database=None if database is None else str(database),
        class_names=work.data.class_names,
    )
