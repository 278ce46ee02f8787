"""The files of an export: their names, and reading them where they may come from a stranger; files written whole."""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import yaml

from search_space.architecture import Architecture
from search_space.errors import InputError

ARCHITECTURE = "architecture.yaml"
WEIGHTS = "model.safetensors"
SOURCE = "model.py"
PROGRAM = "model.pt2"
ONNX = "model.onnx"
METADATA = "metadata.json"
README = "README.md"

NEEDED = (ARCHITECTURE, WEIGHTS)
"""The files that the network is loaded from, so that every export has them."""

_MOST_BYTES = {ARCHITECTURE: 1 << 20, METADATA: 1 << 24}
_DEEPEST = 8
_METADATA_TYPES: dict[str, type | tuple[type, ...]] = {
    "study": (str, type(None)),
    "config": (dict, type(None)),
    "class_names": (list, type(None)),
    "sha256": dict,
}


def sha256(file: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(file: Path, text: str) -> None:
    """Writes a text file that is never seen half written.

    Raises:
        InputError: there is no such folder, or nothing may be written there.
    """
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Writes a file that is never seen half written.

    Raises:
        InputError: there is no such folder, or nothing may be written there.
    """
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{file} cannot be written: {error.strerror}") from error


def check_that_it_can_be_made(folder: Path) -> None:
    """For a folder that does not exist, by its absolute path.

    Raises:
        InputError: the nearest folder above it is a file, or nothing may be written there.
    """
    parent = next(above for above in folder.parents if above.exists())
    if not parent.is_dir():
        raise InputError(f"{folder} cannot be made: {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be made: nothing may be written in {parent}")


def member(folder: Path, name: str) -> Path:
    """A file of an export, which lies in its directory and nowhere else.

    Raises:
        InputError: there is none, or it is a link to somewhere else.
    """
    file = folder / name
    if not file.is_file():
        raise InputError(f"{folder} is no export: it has no {name}")
    if file.resolve().parent != folder.resolve():
        raise InputError(f"{file} is a link out of the export: copy the file itself there")
    return file


def read_metadata(folder: Path) -> dict[str, Any]:
    """What an export's metadata.json says; the keys that are read elsewhere have the right types.

    Raises:
        InputError: there is none, or it is not an export's.
    """
    file = member(folder, METADATA)
    try:
        metadata = json.loads(_content(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(metadata, dict) or "sha256" not in metadata:
        raise InputError(f"{file} is not an export's: it has no checksums under the key 'sha256'")
    for key, types in _METADATA_TYPES.items():
        if not isinstance(metadata.get(key), types):
            raise InputError(f"{file} is not an export's: {key} is of the type {type(metadata[key]).__name__}")
    return metadata


def read_architecture(folder: Path) -> Architecture:
    """The architecture of an export. Nothing is built and nothing imported for it.

    Raises:
        InputError: there is no architecture.yaml, or it is not an export's.
    """
    file = member(folder, ARCHITECTURE)
    try:
        text = _content(file).decode()
        _check_that_it_is_plain(text)
        return Architecture.from_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:  # of numbers and dates that are none, and of characters
        raise InputError(f"{file}: {error}") from error


def _content(file: Path) -> bytes:
    """All of a file, if it is no larger than an export's is."""
    most = _MOST_BYTES[file.name]
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise InputError(f"{file} has more than {most:,} bytes, so it is not an export's")
    return content


def _check_that_it_is_plain(text: str) -> None:
    """Refuses what a few lines of YAML can make of themselves: aliases of aliases, and lists in lists without end."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"it has the alias *{event.anchor}, and an export's has none")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise InputError(f"it is nested deeper than {_DEEPEST} levels, and an export's is not")
