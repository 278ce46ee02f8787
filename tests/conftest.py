from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from postgresql import PostgresMissingError, PostgresServer

torch.set_num_threads(1)
settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is quick to fail comes first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A real server. Without one the tests fail: that a study may be kept there is promised."""
    try:
        server = PostgresServer()
    except PostgresMissingError as missing:
        pytest.fail(str(missing), pytrace=False)
    try:
        server.start()
        yield server
    finally:
        server.close()
