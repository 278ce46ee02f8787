"""A search on a cluster that is reached by a Ray client: the driver runs there, and what happens is told here.

Ray Tune's own loop does not run through a Ray client. So the driver is a task on the cluster that needs no CPU; its
events come back through one queue, and signals go there through another. The study DB, the images and the checkpoints
have to be reached from the cluster.
"""

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import ray
from ray.exceptions import RayTaskError
from ray.util.queue import Empty, Queue

from nas import cluster
from nas.config import Config
from nas.engine import Listener
from nas.interruption import Interruption
from results.database import parse_url
from search_space.errors import InputError

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_LOOK_EVERY_S = 0.5
_EVENTS = ("begun", "started", "progressed", "paused", "lost", "ended")


def is_ray_client(address: str) -> bool:
    """Whether an address is that of a Ray client's server."""
    return address.startswith("ray://")


def run_on_the_cluster(
    drive: Callable[..., _T],
    config: Config,
    storage: str,
    *,
    address: str,
    time_budget: timedelta | None,
    listener: Listener,
) -> _T:
    """What a driver returns that runs on the cluster.

    Args:
        drive: called there with the configuration, the storage and the keywords of :func:`nas.driver.carry_out`.

    Raises:
        InputError: the study DB is a file on this machine, or what the driver itself raises.
    """
    if parse_url(storage).get_backend_name() == "sqlite":
        raise InputError(
            "through ray:// the search runs on the cluster, which cannot reach an SQLite file on this machine: give "
            "--storage postgresql+psycopg://..., or run senas on the cluster, by ray job submit or --address auto"
        )
    with cluster.connected(address, config):
        events, orders = Queue(actor_options={"num_cpus": 0}), Queue(actor_options={"num_cpus": 0})
        on_the_cluster: Any = ray.remote(num_cpus=0, max_retries=0)(_drive)
        task = on_the_cluster.remote(drive, config, storage, time_budget, events, orders)
        with Interruption(log.warning) as interruption:
            ordered = False
            while not ray.wait([task], timeout=_LOOK_EVERY_S)[0]:
                _tell(listener, events)
                if interruption.signal is not None and not ordered:
                    orders.put(interruption.signal)
                    ordered = True
        _tell(listener, events)
        try:
            outcome: _T = ray.get(task)
        except RayTaskError as error:
            raise error.cause from None
        return outcome


def _drive(
    drive: Callable[..., _T],
    config: Config,
    storage: str,
    time_budget: timedelta | None,
    events: Queue,
    orders: Queue,
) -> _T:
    """The task on the cluster."""
    return drive(config, storage, address="auto", time_budget=time_budget, listener=_Forwarding(events, orders))


class _Forwarding(Listener):
    """Puts what happens into one queue, and takes signals from the other."""

    def __init__(self, events: Queue, orders: Queue) -> None:
        self._orders = orders
        self._looked = 0.0
        for event in _EVENTS:
            setattr(self, event, lambda *arguments, _event=event: events.put((_event, arguments)))

    def tick(self) -> None:
        """Time has passed."""
        if time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._looked = time.monotonic()
            with suppress(Empty):
                signal.raise_signal(self._orders.get_nowait())


def _tell(listener: Listener, events: Queue) -> None:
    for event, arguments in events.get_nowait_batch(events.qsize()):
        getattr(listener, event)(*arguments)
    listener.tick()
