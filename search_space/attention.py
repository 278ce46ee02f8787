"""Attention like that of transformers, recognized by what a network computes and by what its modules are called."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary

from search_space.architecture import Shape

_FUSED = ("scaled_dot_product", "native_multi_head_attention", "_transformer_encoder_layer")
_PRODUCTS: dict[Any, tuple[int, ...]] = {
    torch.ops.aten.mm.default: (0, 1),
    torch.ops.aten.bmm.default: (0, 1),
    torch.ops.aten.addmm.default: (1, 2),
    torch.ops.aten.baddbmm.default: (1, 2),
}
"""Matrix products, and which of their arguments are multiplied."""


class _AttentionWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches operations for attention: a matrix product of maps that is multiplied with another map.

    A map is whatever depends on the image. One product of maps alone is not attention: bilinear pooling and the global
    context of GCNet have one. Neither are products with weights, nor products of what is made of products already
    (covariance pooling, and the global contexts of later blocks).

    Attributes:
        found: whether there was attention.
    """

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False
        self._maps: Any = WeakIdKeyDictionary()
        self._products: Any = WeakIdKeyDictionary()
        self._maps[image.untyped_storage()] = True

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and notes what its results are made of."""
        given = _storages((args, kwargs))
        result = func(*args, **(kwargs or {}))
        is_map = any(storage in self._maps for storage in given)
        is_product = any(storage in self._products for storage in given)
        factors = [args[i].untyped_storage() for i in _PRODUCTS.get(func, ())]
        if factors and all(factor in self._maps for factor in factors):
            self.found |= sum(factor in self._products for factor in factors) == 1
            is_product = True
        self.found |= is_map and any(name in str(func) for name in _FUSED)
        for storage in _storages(result):
            if is_map:
                self._maps[storage] = True
            if is_product:
                self._products[storage] = True
        return result


def has_attention(network: nn.Module, sizes: Iterable[Shape]) -> bool:
    """Return whether a network on the meta device has attention.

    Args:
        network: its modules tell by their names (:func:`has_attention_modules`), or a run does.
        sizes: of the images to run, one size after another; a run that fails counts as far as it went.
    """
    return has_attention_modules(network) or any(attends(network, size) for size in sizes)


def multiplies_maps(operations: Iterable[object]) -> bool:
    """Return whether operations that ran include products of batches of matrices, without which attention is rare."""
    return any(name in str(operation) for operation in operations for name in ("bmm", *_FUSED))


def attends(network: nn.Module, size: Shape) -> bool:
    """Return whether a run of one image on the meta device shows attention."""
    image = torch.empty(1, *size, device="meta")
    watch = _AttentionWatch(image)
    # A network that fails is refused anyway; what it did until then says why.
    with suppress(Exception), torch.no_grad(), watch:
        network(image)
    return watch.found


def has_attention_modules(network: nn.Module) -> bool:
    """Return whether a module of a network is attention by its type, or by its name and that of its projections.

    Some attention multiplies no maps: the separable self-attention of MobileViT v2 has sums in the place of products.
    """
    return any(
        isinstance(part, nn.MultiheadAttention)
        # The attention of torchvision and timm has queries, keys and values; that of channels (CBAM) has not.
        or ("Attention" in type(part).__name__ and any("qkv" in name for name, _ in part.named_children()))
        for part in network.modules()
    )


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [value.untyped_storage() for value in tree_iter(values) if isinstance(value, torch.Tensor)]
