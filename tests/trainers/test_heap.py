import subprocess
import sys

import pytest

from trainers.heap import keep_freed_memory

# How many pages training asks the system for, once it is under way.
PROGRAM = """
import resource, sys, torch
from search_space import Architecture, build, resolve
from trainers.heap import keep_freed_memory

network = build(Architecture(resolve("resnet20", num_classes=10, input_size=(3, 32, 32))))
images = torch.randn(64, 3, 32, 32)

def step():
    network(images).sum().backward()

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(2):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_asked_for(how: str) -> int:
    told = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(told.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is another")
def test_freed_memory_is_used_again() -> None:
    assert pages_asked_for("kept") < pages_asked_for("given back") / 10


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
