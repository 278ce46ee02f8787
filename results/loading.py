"""From an export's files back to the network. The weights are data alone: nothing is ever unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from results.files import ARCHITECTURE, CHECKSUMMED, METADATA, WEIGHTS, read_metadata, sha256
from search_space import Architecture, InputError, build


def load(directory: str | Path) -> nn.Module:
    """The network of an export, with its weights, on the CPU and in eval mode.

    It takes images of the architecture's input size, normalised as metadata.json says, and gives logits.

    Args:
        directory: what :func:`results.export` wrote.

    Raises:
        InputError: a file is missing, is not what was exported, or does not fit the others.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise InputError(f"there is no export at {folder}: name the directory that `senas export` wrote")
    _check_sums(folder, read_metadata(folder))
    architecture = Architecture.read(folder / ARCHITECTURE)
    return build_with_weights(architecture, folder / WEIGHTS)


def build_with_weights(architecture: Architecture, weights: Path) -> nn.Module:
    """The network of an architecture with the weights of a safetensors file, in eval mode.

    Raises:
        InputError: the file is not one, or its names and shapes are not exactly the network's.
    """
    model = build(architecture)
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{weights} is damaged or no safetensors file: {error}") from error
    _check_fit(weights, state, model.state_dict())
    model.load_state_dict(state)
    return model.eval()


def _check_sums(folder: Path, metadata: Mapping[str, Any]) -> None:
    for name in CHECKSUMMED:
        file = folder / name
        if not file.is_file():
            raise InputError(f"{folder} is no export: it has no {name}")
        if metadata["sha256"].get(name) != sha256(file):
            raise InputError(f"{file} is not what was exported: its SHA-256 differs from {METADATA}; export again")


def _check_fit(weights: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    misfits = [
        *(f"lacks {key}" for key in wanted if key not in state),
        *(f"has {key}, which the network has not" for key in state if key not in wanted),
        *(
            f"has {key} of shape {tuple(state[key].shape)} where the network has {tuple(tensor.shape)}"
            for key, tensor in wanted.items()
            if key in state and state[key].shape != tensor.shape
        ),
    ]
    if misfits:
        more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
        raise InputError(f"{weights} does not fit its architecture: it {misfits[0]}{more}")
