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
from search_space.site import Sites, recorded_sites


@dataclass(frozen=True)
class Drawing:
    """An architecture as an SVG, or why it is not drawn."""

    svg: str | None
    obstacle: str = ""


def start_drawing(architecture: Architecture, sites: Sites | None) -> Callable[[], Drawing]:
    """Begins to draw, and gives what waits for the drawing.

    Args:
        sites: the sites that the search is over, where they are known.

    What is given raises a RuntimeError if the process breaks.
    """
    if "torch" in sys.modules:
        return lambda: _draw(architecture, sites)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, architecture.to_yaml(), json.dumps(sites)],
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


def _draw(architecture: Architecture, sites: Sites | None) -> Drawing:
    from search_space.svg import draw
    from search_space.tracing import trace_for

    try:
        return Drawing(draw(trace_for(architecture, sites), architecture))
    except InputError as error:
        return Drawing(None, str(error))


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(
            asdict(_draw(Architecture.from_yaml(sys.argv[1]), recorded_sites({"sites": json.loads(sys.argv[2])})))
        )
    )
