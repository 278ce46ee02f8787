"""Attention like that of transformers, recognized by what a network computes and by what its modules are called."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

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

    A map is whatever depends on the image. The other map is one that the product is not made of, and it is made of all
    earlier products that the product is made of, as values are. One product alone is not attention: bilinear pooling
    and the global context of GCNet have one. Neither are products with weights, nor powers of one product (covariance
    pooling).

    Attributes:
        found: whether there was attention.
    """

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False
        # Maps are numbered. Each has a bit set of all that it is made of, of which the highest bit is its own.
        self._made_of = {id(image): 1}
        self._count = 1
        self._products = 0
        self._kept = [
            image
        ]  # An id is that of one tensor as long as it is kept, which costs nothing on the meta device.

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and notes what its results are made of."""
        given = [tensor for tensor in _tensors((args, kwargs)) if id(tensor) in self._made_of]
        made_of = 0
        for tensor in given:
            made_of |= self._made_of[id(tensor)]
        factors = [self._made_of.get(id(args[i]), 0) for i in _PRODUCTS.get(func, ())]
        is_product = len(factors) > 0 and all(factors)
        self.found |= is_product and (self._are_attention(*factors) or self._are_attention(*reversed(factors)))
        self.found |= made_of > 0 and any(name in str(func) for name in _FUSED)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result) if given else ():
            self._kept.append(tensor)
            if _is_whole_view(tensor, given):
                self._made_of[id(tensor)] = made_of
                continue
            self._made_of[id(tensor)] = made_of | 1 << self._count
            self._products |= is_product << self._count
            self._count += 1
        return result

    def _are_attention(self, product: int, other: int) -> bool:
        of_product, of_other = product & self._products, other & self._products
        is_made_of_other = product >> (other.bit_length() - 1) & 1
        return of_product != of_other and of_product | of_other == of_product and not is_made_of_other


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


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_iter(values) if isinstance(value, torch.Tensor)]


def _is_whole_view(tensor: torch.Tensor, given: list[torch.Tensor]) -> bool:
    """Whether a tensor is all of the one tensor that an operation was given, in another shape."""
    source, *others = given
    is_view = tensor.untyped_storage()._cdata == source.untyped_storage()._cdata
    return not others and is_view and tensor.numel() == source.numel()
