"""The files in an export: their names, and their checksums."""

import hashlib
from pathlib import Path

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
