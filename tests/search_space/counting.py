"""Multiply-adds of built networks, counted without what senas counts with."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search_space.architecture import SE, Shape

SQUEEZED_AND_SCALED = {
    "se": lambda c, n: 2 * n,
    "no_squeeze": lambda c, n: n,
    "effective_se": lambda c, n: 2 * n,
    "eca": lambda c, n: 2 * n,
    "cbam": lambda c, n: 3 * n + c,  # two squeezes, and the sum of what the perceptron makes of them
    "simam": lambda c, n: 7 * n + 3 * c,
    "gather_excite": lambda c, n: 2 * n,
}
"""Per kind of block what it does beside its layers, of the channels and the elements of the map."""


def elementwise_flops(se: SE, shape: Shape) -> int:
    """What a block does beside its layers: one for each element squeezed, scaled, or mixed with the identity."""
    channels, height, width = shape
    elements = channels * height * width
    return SQUEEZED_AND_SCALED[se.kind](channels, elements) + (elements if se.from_identity else 0)


def layer_flops(network: nn.Module, input_size: Shape) -> tuple[int, int]:
    """The multiply-adds of a network's convolutions and linear layers, and of those within its SE blocks.

    Counted twice, by the shapes of the weights and by torch.
    """
    all_layers = in_blocks = 0

    def hook_for(inside: bool):
        def hook(layer, inputs, output):
            # each output element is a dot product with one filter (or row) of the weight
            nonlocal all_layers, in_blocks
            flops = output.numel() * layer.weight[0].numel()
            all_layers += flops
            in_blocks += flops if inside else 0

        return hook

    handles = [
        module.register_forward_hook(hook_for(name.startswith("se.")))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *input_size, device="meta"))
    for handle in handles:
        handle.remove()
    assert counter.get_total_flops() == 2 * all_layers
    return all_layers, in_blocks
