"""Weights from elsewhere for a backbone: torchvision's by the name of their enum, or a file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from search_space.architecture import Backbone
from search_space.backbones import instantiate_without_weights
from search_space.backbones.adapting import se_blocks
from search_space.backbones.torchvision_models import torchvision_names
from search_space.errors import InputError, first_line, unknown

_FILES = (".safetensors", ".pt", ".pth")
_AUXILIARY_HEADS = ("aux1.", "aux2.", "AuxLogits.")


def load_weights(module: nn.Module, backbone: Backbone, weights: str) -> None:
    """Loads weights into a backbone's module, by the names of its state dict.

    The classifier is left as it is drawn where it is for another number of classes; all else has to fit. What the
    file has for auxiliary heads and for SE blocks that were stripped is left out.

    Args:
        weights: a file (``.safetensors``, or ``.pt`` and ``.pth`` with tensors alone), or the name of a torchvision
            weights enum for this backbone: ``IMAGENET1K_V2``, ``ResNet50_Weights.IMAGENET1K_V2`` or ``DEFAULT``.

    Raises:
        InputError: there are no such weights, or they do not fit; the message names the key.
    """
    state = _read(Path(weights)) if weights.endswith(_FILES) else _published(backbone, weights)
    wanted = module.state_dict()
    left_out = (*_AUXILIARY_HEADS, *_stripped_blocks(backbone))
    state = {key: tensor for key, tensor in state.items() if not key.startswith(left_out)}
    fresh = _classifier_keys(state, wanted, backbone.num_classes)
    for key, tensor in wanted.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise InputError(f"weights {weights} lack {key}, which {backbone.name} has")
        if key in state and key not in fresh and state[key].shape != tensor.shape:
            raise InputError(
                f"weights {weights} have {key} of shape {_shape(state[key])} where {backbone.name} has "
                f"{_shape(tensor)}: take weights made for these options, or the options they were made for"
            )
    for key in state:
        if key not in wanted:
            raise InputError(f"weights {weights} have {key}, which {backbone.name} has not")
    module.load_state_dict({key: tensor for key, tensor in state.items() if key not in fresh}, strict=False)


def _read(file: Path) -> Mapping[str, Tensor]:
    if not file.is_file():
        raise InputError(f"there is no weights file {file}")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"weights file {file} cannot be read: {first_line(error)}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"weights file {file} holds no state dict: names and their tensors")
    return content


def _published(backbone: Backbone, weights: str) -> Mapping[str, Any]:
    if backbone.name not in torchvision_names():
        raise InputError(
            f"backbone {backbone.name} has no published weights to name: give a file ({', '.join(_FILES)})"
        )
    from torchvision.models import get_model_weights

    offered = get_model_weights(backbone.name)
    name = weights.rpartition(".")[2]
    if name not in offered.__members__ or weights not in (name, f"{offered.__name__}.{name}"):
        raise unknown(f"weights of {backbone.name}", weights, offered.__members__)
    try:
        state: Mapping[str, Any] = offered[name].get_state_dict(progress=False, check_hash=True)
    except Exception as error:
        raise InputError(f"weights {weights} of {backbone.name} cannot be fetched: {first_line(error)}") from error
    return state


def _stripped_blocks(backbone: Backbone) -> list[str]:
    """The beginnings of the keys of the SE blocks that the backbone was published with and has no more."""
    options = dict(backbone.options)
    if options.get("se") != "strip":
        return []
    whole = replace(backbone, options=tuple(sorted((options | {"se": "keep"}).items())))
    return [f"{name}." for name in se_blocks(instantiate_without_weights(whole))]


def _classifier_keys(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], num_classes: int) -> set[str]:
    """The weight and the bias of the one layer that differs, and in nothing but the number of classes."""
    differing = {key for key in wanted if key in state and state[key].shape != wanted[key].shape}
    layers = {key.rpartition(".")[0] for key in differing}
    for_classes = all(
        wanted[key].shape[:1] == (num_classes,) and state[key].shape[1:] == wanted[key].shape[1:] for key in differing
    )
    return differing if len(layers) == 1 and for_classes else set()


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
