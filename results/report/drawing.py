"""The recommended architecture as an SVG, drawn beside the rest of the report by a process of its own.

Tracing a backbone takes torch, which takes as long to load as all else of a report. A program that has it loaded
already draws by itself.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from search_space.architecture import Architecture
from search_space.errors import InputError


@dataclass(frozen=True)
class Drawing:
    """An architecture as an SVG, or why it is not drawn."""

    svg: str | None
    obstacle: str = ""


def start_drawing(architecture: Architecture) -> Callable[[], Drawing]:
    """Begins to draw, and gives what waits for the drawing.

    What is given raises a RuntimeError if the process breaks.
    """
    if "torch" in sys.modules:
        return lambda: _draw(architecture)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, architecture.to_yaml()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def finished() -> Drawing:
        drawn, said = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the architecture could not be drawn: {said.strip()}")
        return Drawing(**json.loads(drawn))

    return finished


def _draw(architecture: Architecture) -> Drawing:
    from search_space.svg import draw
    from search_space.tracing import trace

    try:
        return Drawing(draw(trace(architecture.backbone), architecture))
    except InputError as error:
        return Drawing(None, str(error))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_draw(Architecture.from_yaml(sys.argv[1])))))
