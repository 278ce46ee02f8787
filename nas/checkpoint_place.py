"""The folder, or the URL, that a search writes its checkpoints to: that of its study, wherever it is now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from nas.config import Config
from results.checkpoint_places import Curves, among, locate, original_of
from results.remote import is_remote, join, names
from search_space.errors import InputError, first_line


@dataclass(frozen=True)
class CheckpointPlace:
    """Where the checkpoints of a study are to be written.

    Attributes:
        url: the URL of the study DB.
        given: the folder or the URL that the user named for the checkpoints, if any; absolute.
    """

    config: Config
    url: str
    given: str | None = None

    def __call__(self, attributes: Mapping[str, Any], curves: Callable[[], Curves]) -> str:
        """Return the place of a study's checkpoints. Nothing is written to it.

        Args:
            attributes: the user attributes of the study; empty for a new one.
            curves: gives what the trials measured.

        Raises:
            InputError: the checkpoints are gone, or those that were found belong to another study.
        """
        if "checkpoints" not in attributes:
            return new_place(self.config)
        if self.given is not None:
            return among(self.given, self.config.study, curves) or join(self.given, self.config.study)
        place = locate(attributes, self.url, curves)
        if is_remote(place):
            return place
        study = self.config.study
        original = original_of(attributes, self.url, study)
        if original is not None and place == attributes["checkpoints"]:
            raise InputError(
                f"this study DB is a copy of {original}, whose study '{study}' has its checkpoints in {place}: copy "
                "them too, or name another folder for those of the copy by --checkpoints DIR"
            )
        if Path(place).is_dir():
            return place
        if any(curves().values()):
            raise InputError(
                f"the checkpoints of study '{study}' are gone: there is no folder {place}: move it back, or name where "
                "they are by --checkpoints DIR (with an empty folder, unfinished trials start over)"
            )
        return new_place(self.config)


def new_place(config: Config) -> str:
    """Return where the configuration puts checkpoints, or a numbered place beside it if that is in use.

    Raises:
        InputError: the configuration names a URL that cannot be read.
    """
    wanted = config.checkpoints
    if wanted is not None and is_remote(wanted):
        return _unused_url(join(wanted, config.study))
    folder = config.folder / "checkpoints" if wanted is None else Path(wanted).expanduser().absolute() / config.study
    return str(_unused_folder(folder))


def _unused_folder(wanted: Path) -> Path:
    """The folder wanted, or a numbered one beside it: another study's checkpoints are no start for this one's."""
    numbered = (wanted.with_name(f"{wanted.name}-{number}") for number in count(2))
    return next(folder for folder in chain([wanted], numbered) if not folder.exists())


def _unused_url(wanted: str) -> str:
    """The same of a URL, which is so opened before anything is trained."""
    numbered = (wanted if number == 1 else _numbered(wanted, number) for number in count(1))
    try:
        return next(url for url in numbered if not names(url))
    except OSError as error:
        raise InputError(f"checkpoints: {wanted} cannot be read: {first_line(error)}") from error


def _numbered(url: str, number: int) -> str:
    path, mark, query = url.partition("?")
    return f"{path}-{number}{mark}{query}"
