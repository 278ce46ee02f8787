import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is quick to fail comes first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
