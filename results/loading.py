"""From an export's files back to the network. An export may come from a stranger: what it says is checked before it
is believed, nothing is ever unpickled, and code is imported only where the caller trusts it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, fx, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from results.class_names import class_names_in
from results.features import FeatureExtractor
from results.files import METADATA, NEEDED, WEIGHTS, member, read_architecture, read_metadata, sha256
from search_space.architecture import Architecture
from search_space.backbones.timm_models import PREFIX as TIMM
from search_space.building import build, build_without_weights
from search_space.errors import InputError, first_line
from search_space.import_paths import is_import_path
from search_space.site import Rule, recorded_sites


@overload
def load(directory: str | Path, *, features: Literal[False] = False, trust: bool = False) -> nn.Module: ...


@overload
def load(directory: str | Path, *, features: Literal[True], trust: bool = False) -> FeatureExtractor: ...


def load(directory: str | Path, *, features: bool = False, trust: bool = False) -> nn.Module:
    """The network of an export, with its weights, on the CPU and in eval mode.

    It takes images of the architecture's input size, normalised as metadata.json says, and gives logits. Its attribute
    ``class_names`` has the name of the class of each logit (a tuple), or None where the export does not say.

    Args:
        directory: what :func:`results.export` wrote.
        features: give a :class:`results.features.FeatureExtractor` instead: the maps of every stage, for detectors
            and segmenters.
        trust: import the code that the architecture names, if its backbone or its blocks are somebody's own
            (``package.module:Class``). Whoever wrote the export chooses what is imported and called.

    Raises:
        InputError: a file is missing, is not what was exported, or does not fit the others; or the architecture
            names code, and it is not trusted.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise InputError(f"there is no export at {folder}: name the directory that `senas export` wrote")
    metadata = read_metadata(folder)
    _check_sums(folder, metadata)
    architecture = read_architecture(folder)
    names = class_names_in(metadata, architecture.backbone.num_classes)
    if not trust:
        _check_that_it_names_no_code(architecture, folder)
    network = build_with_weights(architecture, folder / WEIGHTS)
    if features:
        return FeatureExtractor(network, architecture, _rule(metadata)).eval()
    vars(network)["class_names"] = names
    return network


def _rule(metadata: Mapping[str, Any]) -> Rule:
    """Return the rule whose sites the stages of an export end with."""
    config = metadata.get("config")
    sites = "auto" if config is None else recorded_sites(config.get("space") or {})
    return "residual" if sites == "residual" else "auto"


def build_with_weights(architecture: Architecture, weights: Path) -> fx.GraphModule:
    """The network of an architecture with the weights of a safetensors file, in eval mode.

    What the architecture asks for is compared with the file before any memory is taken for it.

    Raises:
        InputError: the file is not one, or its names, shapes and types are not exactly the network's.
    """
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{weights} is damaged or no safetensors file: {error}") from error
    _check_fit(weights, state, _wanted(architecture, weights, len(state)))
    network = build(architecture)
    network.load_state_dict(state)
    return network.eval()


def _wanted(architecture: Architecture, weights: Path, tensors: int) -> Mapping[str, Tensor]:
    """The shapes and types that an architecture asks for."""
    try:
        with _no_larger_than(tensors, weights):
            return build_without_weights(architecture).state_dict()
    except InputError:
        raise
    except Exception as error:  # torch has many for sizes that no tensor has
        raise InputError(f"no network can be made to go with {weights}: {first_line(error)}") from error


def _check_sums(folder: Path, metadata: Mapping[str, Any]) -> None:
    for name in NEEDED:
        file = member(folder, name)
        if metadata["sha256"].get(name) != sha256(file):
            raise InputError(f"{file} is not what was exported: its SHA-256 differs from {METADATA}; export again")


def _check_that_it_names_no_code(architecture: Architecture, folder: Path) -> None:
    names = [architecture.backbone.name, *(se.kind for _, se in architecture.sites)]
    code = next((name for name in names if is_import_path(name) and not name.startswith(TIMM)), None)
    if code is not None:
        raise InputError(
            f"the export at {folder} names code that is not senas's, {code}, which would be imported and run: if you "
            "know that code and trust whoever made the export, load it with trust=True"
        )


@contextmanager
def _no_larger_than(tensors: int, weights: Path) -> Iterator[None]:
    """Stops the making of a network that has many times more parameters than a file has tensors.

    Without weights a wide network costs nothing, but one of a billion layers never comes to an end. Networks that are
    adapted register some parameters more often than they have them.
    """
    thread, registered, most = threading.get_ident(), 0, 1000 + 10 * tensors

    def count(_module: nn.Module, _name: str, _parameter: nn.Parameter | None) -> None:
        nonlocal registered
        registered += threading.get_ident() == thread
        if registered > most:
            raise InputError(f"it is far larger than what {weights} holds, which is {tensors} tensors")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _check_fit(weights: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    common = [(key, state[key], tensor) for key, tensor in wanted.items() if key in state]
    misfits = [
        *(f"lacks {key}" for key in wanted if key not in state),
        *(f"has {key}, which the network has not" for key in state if key not in wanted),
        *(
            f"has {key} of shape {tuple(ours.shape)} where the network has {tuple(theirs.shape)}"
            for key, ours, theirs in common
            if ours.shape != theirs.shape
        ),
        *(
            f"has {key} of {ours.dtype} where the network has {theirs.dtype}"
            for key, ours, theirs in common
            if ours.dtype != theirs.dtype
        ),
    ]
    if misfits:
        more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
        raise InputError(f"{weights} does not fit its architecture: it {misfits[0]}{more}")
