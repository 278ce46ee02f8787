"""Where the checkpoints of a study are, also after its project was moved or copied to another folder.

A study records the absolute path of its checkpoints. A project that was moved or copied as a whole has them at the
same place relative to its SQLite file, which is therefore looked at first. A folder is taken for the study's own only
if the curves in its checkpoints agree with those in the study DB.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from results.database import parse_url, reading
from results.records import checkpoint_folder
from results.remote import absolute, is_remote, join, names
from results.tables import study_attributes, study_ids
from search_space.errors import InputError

EPOCH_FOLDER = re.compile(r"epoch-(\d+)")

Curves = Mapping[int, Mapping[int, float | None]]
"""The accuracy after each epoch, None where it was not measured, by the number of the trial."""

_TRIAL_FOLDER = re.compile(r"trial-\d{5,}")
_STATE = "state.json"


def database_file(url: str) -> Path | None:
    """Return the absolute path of the file at a study DB's URL, or None for a DB on a server or in memory."""
    address = parse_url(url)
    if address.get_backend_name() != "sqlite" or address.database in (None, "", ":memory:"):
        return None
    return Path(str(address.database)).absolute()


def locate(attributes: Mapping[str, Any], url: str, curves: Callable[[], Curves]) -> str:
    """Return the folder or the URL at which the checkpoints of a study are now.

    Args:
        attributes: the user attributes of the study, of which ``checkpoints`` is the recorded place.
        url: the URL of the study DB.
        curves: called where a folder other than the recorded one is considered.

    Returns:
        The recorded place if there is no better one, whether or not it exists.
    """
    recorded: str = attributes["checkpoints"]
    if is_remote(recorded):
        return recorded
    database, place = database_file(url), Path(recorded)
    if database is not None:
        own = _same_place_beside(database, attributes)
        if own is not None and not _is_same(own, place) and _is_of_the_study(own, curves):
            return str(own)
    if place.is_dir():
        return recorded
    bases = dict.fromkeys([*([] if database is None else [database.parent]), Path.cwd()])
    for found in (candidate for base in bases for candidate in _endings_under(base, place)):
        if _is_of_the_study(found, curves):
            return str(found)
    return recorded


def among(given: str, study: str, curves: Callable[[], Curves]) -> str | None:
    """Return the place of a study's checkpoints in a folder, or at a URL, that the user named.

    Args:
        given: the place itself, or one above it: the ``output`` or the ``checkpoints`` of a configuration.
        study: the name of the study.

    Returns:
        None if there are no checkpoints.

    Raises:
        InputError: the checkpoints there are not the study's, or the URL cannot be opened.
        OSError: the URL cannot be read.
    """
    given = absolute(given)
    below = [join(given, study), join(given, "checkpoints"), join(join(given, study), "checkpoints")]
    for place in (given, *below):
        if not _holds_trials(place):
            continue
        if not is_remote(place) and not _agrees(Path(place), curves()):
            raise InputError(f"the checkpoints in {place} are of other trials than those of study '{study}'")
        return place
    return None


def original_of(attributes: Mapping[str, Any], url: str, study: str) -> Path | None:
    """Return the SQLite file that the study DB is a copy of, if it still has the study with the same checkpoints."""
    now, then = database_file(url), attributes.get("database")
    if now is None or then is None or not Path(then).is_file() or _is_same(Path(then), now):
        return None
    try:
        with reading(f"sqlite:///{then}") as connection:
            known = study_ids(connection)
            other = study_attributes(connection, known[study]) if study in known else {}
    except InputError:  # it is no study DB any more
        return None
    return Path(then) if other.get("checkpoints") == attributes["checkpoints"] else None


def relocated(file: Path, base: Path) -> Path | None:
    """Return the file under a folder at which the longest possible ending of a path exists, or None."""
    return next((found for found in _endings_under(base, file) if found.is_file()), None)


def _same_place_beside(database: Path, attributes: Mapping[str, Any]) -> Path | None:
    """Return the recorded place as seen from the SQLite file, moved to where that file is now.

    None for a place outside the project: neither below the folder of the SQLite file nor relative in the configuration.
    """
    place, then = Path(attributes["checkpoints"]), attributes.get("database")
    if then is not None:
        home = Path(then).parent
        return database.parent / place.relative_to(home) if place.is_relative_to(home) else None
    config = attributes.get("config") or {}
    chosen = config.get("checkpoints")
    relative = Path(str(config.get("output", "/")) if chosen is None else str(chosen))
    if relative.is_absolute() or is_remote(str(relative)) or relative.parts[:1] == ("~",) or ".." in relative.parts:
        return None
    depth = len(relative.parts) + (2 if chosen is None else 1)  # below output: the study's name and "checkpoints"
    return database.parent.joinpath(*place.parts[-depth:])


def _endings_under(base: Path, path: Path) -> Iterator[Path]:
    """The endings of a path under a folder, the longest first."""
    parts = path.parts[1:] if path.is_absolute() else path.parts
    return (base.joinpath(*parts[start:]) for start in range(len(parts)))


def _is_of_the_study(place: Path, curves: Callable[[], Curves]) -> bool:
    return _holds_trials(str(place)) and _agrees(place, curves())


def _holds_trials(place: str) -> bool:
    if is_remote(place):
        return any(_TRIAL_FOLDER.fullmatch(name) for name in names(place))
    folder = Path(place)
    return folder.is_dir() and any(_TRIAL_FOLDER.fullmatch(path.name) for path in folder.iterdir())


def _agrees(place: Path, curves: Curves) -> bool:
    """Return whether at least half of the trials have the same accuracies in their checkpoints as in the study DB.

    Not all of them have to, because an epoch that was trained again on a GPU may have given another accuracy.
    """
    same = different = 0
    for number, curve in curves.items():
        saved = _saved_curve(Path(checkpoint_folder(str(place), number)))
        common = [epoch for epoch, accuracy in curve.items() if accuracy is not None and epoch in saved]
        if common:
            agree = all(saved[epoch] == curve[epoch] for epoch in common)
            same, different = same + agree, different + (not agree)
    return same >= different


def _saved_curve(folder: Path) -> dict[int, float]:
    """The accuracy by epoch in the newest readable checkpoint of a trial."""
    if not folder.is_dir():
        return {}
    for checkpoint in sorted(folder.iterdir(), reverse=True):
        try:
            state = json.loads((checkpoint / _STATE).read_text())
            return {entry["epoch"]: entry["top1"] for entry in state["curve"] if "top1" in entry}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # one that was cut short
    return {}


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
