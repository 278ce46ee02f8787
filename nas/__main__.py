"""``python -m nas`` is ``senas``."""

from nas.cli import run

run()
