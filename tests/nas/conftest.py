import pytest
from senas_command import Senas


@pytest.fixture
def senas(tmp_path):
    return Senas(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A search that has run to its end, with what it printed."""
    command = Senas(tmp_path_factory.mktemp("finished"))
    command.ended = command.run("search", "tiny.yaml")
    return command
