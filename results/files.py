"""The names of the files in an export."""

ARCHITECTURE = "architecture.yaml"
WEIGHTS = "model.safetensors"
METADATA = "metadata.json"
README = "README.md"

CHECKSUMMED = (ARCHITECTURE, WEIGHTS)
"""The files whose SHA-256 the metadata hold."""
