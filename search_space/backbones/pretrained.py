"""Weights from elsewhere for a backbone: torchvision's by the name of their enum, or a file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from search_space.architecture import Backbone
from search_space.backbones import instantiate_without_weights
from search_space.backbones.adapting import se_blocks
from search_space.backbones.torchvision_models import torchvision_names
from search_space.backbones.weights_files import read_state_dict, without_prefix
from search_space.errors import InputError, first_line, unknown
from search_space.weights import Weights

_RGB = 3
_FEW = 5
_AUXILIARY_HEADS = ("aux1.", "aux2.", "AuxLogits.")


def load_weights(module: nn.Module, backbone: Backbone, weights: Weights | str) -> None:
    """Loads weights into a backbone's module, by the names of its state dict.

    The classifier is left as it is drawn where it is for another number of classes; all else has to fit. What the
    file has for auxiliary heads and for SE blocks that were stripped is left out.

    Args:
        weights: a file of safetensors or of torch.save, whatever its name, or the name of a torchvision weights enum
            for this backbone: ``IMAGENET1K_V2``, ``ResNet50_Weights.IMAGENET1K_V2`` or ``DEFAULT``. A text stands for
            ``Weights(text)``.

    Raises:
        InputError: there are no such weights, or they do not fit; the message names the keys.
    """
    chosen = Weights(weights) if isinstance(weights, str) else weights
    wanted = module.state_dict()
    state = _published(backbone, chosen.source) if chosen.file is None else read_state_dict(chosen.file)
    state = without_prefix(state, wanted)
    left_out = (*_AUXILIARY_HEADS, *_stripped_blocks(backbone))
    state = {key: tensor for key, tensor in state.items() if key in wanted or not key.startswith(left_out)}
    of_rgb = _kernels_of_rgb(state, wanted, backbone)
    if chosen.channels == "adapt":
        state |= {key: adapted_to_channels(state[key], backbone.input_size[0]) for key in of_rgb}
    fresh = _classifier_keys(state, wanted, backbone.num_classes)
    _check_that_all_fits(state, wanted, fresh, of_rgb, backbone, chosen)
    module.load_state_dict({key: tensor for key, tensor in state.items() if key not in fresh}, strict=False)


def adapted_to_channels(kernels: Tensor, channels: int) -> Tensor:
    """Return the kernels of a convolution on RGB for images of another number of channels.

    For one channel they are summed, so that a gray image gives what it would give as RGB. Otherwise they are repeated
    in the order of the channels and scaled by 3 / channels, which keeps the size of what they give.

    Args:
        kernels: [out, 3, height, width].

    Returns:
        [out, channels, height, width], of the same type.
    """
    exact = kernels.float()
    if channels == 1:
        adapted = exact.sum(1, keepdim=True)
    else:
        repeated = exact.repeat(1, math.ceil(channels / _RGB), 1, 1)
        adapted = repeated[:, :channels] * (_RGB / channels)
    return adapted.to(kernels.dtype)


def _published(backbone: Backbone, weights: str) -> Mapping[str, Any]:
    if Path(weights).is_dir():
        raise InputError(f"backbone.weights: {weights} is a folder: name a file in it")
    if backbone.name not in torchvision_names():
        raise InputError(
            f"there is no weights file {weights}, and backbone {backbone.name} has no published weights to name"
        )
    from torchvision.models import get_model_weights

    offered = get_model_weights(backbone.name)
    name = weights.rpartition(".")[2]
    if name not in offered.__members__ or weights not in (name, f"{offered.__name__}.{name}"):
        nearest = unknown(f"weights of {backbone.name}", weights, offered.__members__)
        raise InputError(f"{nearest}; and there is no file of that name")
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


def _kernels_of_rgb(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], backbone: Backbone) -> list[str]:
    """The kernels that take RGB in the file, and images of another number of channels in the backbone."""
    channels = backbone.input_size[0]
    return [
        key
        for key, tensor in wanted.items()
        if key in state
        and tensor.dim() == 4
        and channels != _RGB
        and tensor.shape[1] == channels
        and state[key].shape == (tensor.shape[0], _RGB, *tensor.shape[2:])
    ]


def _classifier_keys(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], num_classes: int) -> set[str]:
    """The weight and the bias of the one layer that differs in nothing but the number of classes."""
    differing = {
        key
        for key in wanted
        if key in state
        and state[key].shape != wanted[key].shape
        and wanted[key].shape[:1] == (num_classes,)
        and state[key].shape[1:] == wanted[key].shape[1:]
    }
    layers = [key for key in differing if wanted[key].dim() > 1]  # others are norms, which a network has many of
    if len(layers) != 1:
        return set()
    layer = layers[0].rpartition(".")[0]
    return {key for key in differing if key.rpartition(".")[0] == layer}


def _check_that_all_fits(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    fresh: set[str],
    of_rgb: Sequence[str],
    backbone: Backbone,
    weights: Weights,
) -> None:
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in wanted]
    others = [
        f"{key} of shape {_shape(state[key])}, not {_shape(tensor)}"
        for key, tensor in wanted.items()
        if key in state and key not in fresh and state[key].shape != tensor.shape
    ]
    found = [
        *([f"they lack {_some(missing)}"] if missing else []),
        *([f"they have {_some(unexpected)}, which {backbone.name} has not"] if unexpected else []),
        *([f"they have {_some(others)}"] if others else []),
    ]
    if not found:
        return
    if of_rgb and weights.channels == "exact":
        advice = (
            f"{of_rgb[0]} is for RGB, and the images have {backbone.input_size[0]} "
            f"{'channel' if backbone.input_size[0] == 1 else 'channels'}: set backbone.weights_channels: adapt"
        )
    elif weights.channels == "adapt" and backbone.input_size[0] != _RGB and not of_rgb:
        advice = "only a convolution that takes the three channels of an image directly can be adapted to others"
    else:
        advice = "take weights made for this backbone and these options"
    raise InputError(f"weights {weights.source} do not fit {backbone.name}: {'; '.join(found)}; {advice}")


def _some(items: Sequence[str]) -> str:
    """The first few of a list, and how many there are if there are more."""
    shown = ", ".join(items[:_FEW])
    return shown if len(items) <= _FEW else f"{shown} and {len(items) - _FEW} more"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
