from collections.abc import Callable, Iterator
from itertools import count

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import nn

from search_space.architecture import Backbone
from search_space.backbones import BACKBONES, resolve
from search_space.backbones.entry import Entry

settings.register_profile(
    "search_space",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

_serial = count()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Backbone]:
    """Registers a module as a backbone for one test, under a name that no cache can know."""

    def register(make: Callable[[], nn.Module], input_size: tuple[int, int, int] = (3, 8, 8)) -> Backbone:
        name = f"user_net_{next(_serial)}"
        monkeypatch.setitem(BACKBONES, name, Entry(lambda channels, classes: make()))
        return resolve(name, num_classes=4, input_size=input_size)

    return register
