"""Runs a search: everything is checked first, then the study is opened, then Ray trains.

The study DB is the only state. What Ray keeps of its own goes to a temporary folder and is forgotten.
"""

import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import timedelta

import ray
import torch
from optuna.trial import FrozenTrial
from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from nas.asha import MultiObjectiveASHA
from nas.config import Config, ResourcesConfig
from nas.plan import Plan, plan
from nas.proposer import SAMPLERS, Proposer
from nas.record import StudyRecord
from nas.scheduler import AshaScheduler
from nas.searcher import StudySearcher
from nas.trainable import Job, TrialActor
from search_space.building import check_weights
from search_space.errors import InputError, first_line
from trainers.data import Splits, search_splits
from trainers.run import check_recipe

_RAY_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same to actors as to whoever typed them
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere unless the user asks for it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the study DB is the log
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # and the only state
    "RAY_AIR_NEW_OUTPUT": "0",  # the legacy output is the one that can be silent; progress is ours
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # failures are recorded with their reason
}


def search(
    config: Config,
    storage: str,
    *,
    address: str | None = None,
    time_budget: timedelta | None = None,
    callbacks: Sequence[Callback] = (),
) -> bool:
    """Runs the search of a configuration, or goes on with it, until its study has all of its trials.

    Args:
        storage: the study DB's URL.
        address: of a Ray cluster; None starts Ray on this machine for the time of the search.
        time_budget: stop after this long; what is running then goes on the next time.
        callbacks: told by Ray Tune of what happens.

    Returns:
        Whether the space is exhausted: it holds no architecture that was not tried.

    Raises:
        InputError: something in the configuration, the data, the resources or the DB is wrong; then nothing has
            been started and no study begun.
    """
    planned = plan(config)
    data = search_splits(config.data)
    check_recipe(config.recipe, config.search.epochs, data)
    for backbone, weights in planned.weights.items():
        check_weights(backbone, weights)
    with ExitStack() as stack:
        if address is not None:
            stack.enter_context(_ray(address))
        capacity = _this_machine() if address is None else _the_cluster()
        needs = _needs_of_a_trial(config.resources, capacity)
        concurrent = _concurrent_trials(needs, capacity, config.resources.max_concurrent)
        record = StudyRecord.open(storage, config, normalisation=asdict(data.normalization))
        recorded = record.trials()
        searcher = _searcher(planned, record, recorded)
        if not searcher.has_work:
            return searcher.exhausted
        scheduler = _scheduler(planned, recorded)
        if address is None:
            stack.enter_context(_ray(None))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="senas-ray-"))
        tuner = tune.Tuner(
            _trainable(planned, needs, data),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,  # the searcher says when it is finished
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                time_budget_s=time_budget,
                trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:05d}",
            ),
            run_config=tune.RunConfig(
                name=config.study,
                storage_path=scratch,
                callbacks=list(callbacks),
                failure_config=tune.FailureConfig(max_failures=config.resources.retries),
                verbose=0,
            ),
        )
        tuner.fit()
        return searcher.exhausted


def _searcher(planned: Plan, record: StudyRecord, recorded: Sequence[FrozenTrial]) -> StudySearcher:
    settings = planned.config.search
    return StudySearcher(
        record,
        recorded,
        Proposer(planned.space, SAMPLERS[settings.sampler](settings.seed), seed=settings.seed),
        total=settings.trials,
        epochs=settings.epochs,
        price=planned.price,
        baselines=planned.baselines(),
    )


def _scheduler(planned: Plan, recorded: Sequence[FrozenTrial]) -> TrialScheduler:
    settings = planned.config.search
    if settings.asha is None:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    low, high = planned.space.cost_range.flops
    asha = MultiObjectiveASHA(
        min_epochs=settings.asha.min_epochs,
        max_epochs=settings.epochs,
        eta=settings.asha.eta,
        ranges=(None, (low, high)),
    )
    scheduler = AshaScheduler(asha)
    for trial in recorded:
        curve = [accuracy for _, accuracy in sorted(trial.intermediate_values.items())]
        scheduler.remember(trial.number, curve, trial.user_attrs["flops"])
    return scheduler


def _trainable(planned: Plan, needs: dict[str, float], data: Splits) -> type[tune.Trainable]:
    config = planned.config
    job = Job(
        data=data,
        weights=planned.weights,
        recipe=config.recipe,
        epochs=config.search.epochs,
        seed=config.search.seed,
        threads=max(1, math.floor(needs["cpu"])),
        device="cuda" if needs["gpu"] else "cpu",
    )
    trainable: type[tune.Trainable] = tune.with_resources(tune.with_parameters(TrialActor, job=job), needs)
    return trainable


def _needs_of_a_trial(resources: ResourcesConfig, capacity: Mapping[str, float]) -> dict[str, float]:
    """Ray's resources for one trial; where nobody has said, a GPU if there is one."""
    gpus = resources.gpus_per_trial
    return {"cpu": resources.cpus_per_trial, "gpu": float(capacity["gpu"] >= 1) if gpus is None else gpus}


def _concurrent_trials(needs: Mapping[str, float], capacity: Mapping[str, float], most: int | None) -> int:
    """How many trials fit at once.

    Raises:
        InputError: not one does.
    """
    fits = [] if most is None else [most]
    for key, needed in needs.items():
        if needed > capacity[key]:
            raise InputError(
                f"resources.{key}s_per_trial is {needed:g}, but there are {capacity[key]:g} {key.upper()}s: lower it"
            )
        if needed:
            fits.append(math.floor(capacity[key] / needed))
    return min(fits)


def _this_machine() -> dict[str, float]:
    return {"cpu": os.cpu_count() or 1, "gpu": torch.cuda.device_count()}


def _the_cluster() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return {"cpu": resources.get("CPU", 0), "gpu": resources.get("GPU", 0)}


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    """A connection to a cluster, or Ray on this machine, for the time of the search."""
    with _environment(_RAY_SETTINGS):
        try:
            ray.init(
                address=address or "local",
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"RAY_CHDIR_TO_TRIAL_DIR": "0"}},
            )
        except (ConnectionError, ValueError) as error:
            raise InputError(f"no Ray cluster answers at '{address}': {first_line(error)}") from error
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time of a block; what the user has set stays."""
    added = {key: value for key, value in settings.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
