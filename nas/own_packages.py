"""senas's own packages, found before modules of the user's that have their names."""

import nas
import results
import search_space
import trainers

PACKAGES = (search_space, trainers, results, nas)


def hold_them() -> None:
    """Does nothing more: that this module is imported is what keeps the packages.

    Ray has a new process look for modules in the working directory first, and a project that trains networks may well
    have a ``trainers`` or a ``results`` of its own there. What is imported by then stays.
    """
