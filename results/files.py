"""The files in an export: their names, checksums and metadata; and files written whole or not at all."""

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

from search_space.errors import InputError

ARCHITECTURE = "architecture.yaml"
WEIGHTS = "model.safetensors"
METADATA = "metadata.json"
README = "README.md"

CHECKSUMMED = (ARCHITECTURE, WEIGHTS)
"""The files whose SHA-256 the metadata hold."""


def sha256(file: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(file: Path, text: str) -> None:
    """Writes a text file that is never seen half written.

    Raises:
        InputError: there is no such folder, or nothing may be written there.
    """
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{file} cannot be written: {error.strerror}") from error


def read_metadata(folder: Path) -> dict[str, Any]:
    """What an export's metadata.json says.

    Raises:
        InputError: there is none, or it is not an export's.
    """
    file = folder / METADATA
    if not file.is_file():
        raise InputError(f"{folder} is no export: it has no {file.name}")
    try:
        metadata = json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(metadata, dict) or not isinstance(metadata.get("sha256"), dict):
        raise InputError(f"{file} is not an export's: it has no checksums under the key 'sha256'")
    return metadata
