"""The Squeeze-and-Excitation block (Hu et al., arXiv 1709.01507), with the widths of any variant.

``out = x * excitation(W_n relu(... relu(W_1 squeeze(x))))``, one gate per channel.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from search_space.architecture import Excitation, Squeeze

SQUEEZES: dict[Squeeze, Callable[[Tensor], Tensor]] = {
    "avg": lambda x: x.mean((2, 3)),
    "max": lambda x: x.amax((2, 3)),
}

EXCITATIONS: dict[Excitation, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
}


@torch.no_grad()
def _start_with_units_on(layer: nn.Linear) -> None:
    """Turns round the units whose weights sum below zero.

    The map at PRE, POST and Identity is not negative. A hidden unit with mostly negative weights is then off for
    every image, and where the bottleneck is one or two wide the whole block would never get a gradient, in some
    positions more than in others. As weights are drawn from a symmetric distribution, each alone keeps it.
    """
    layer.weight.mul_(torch.where(layer.weight.sum(1, keepdim=True) < 0, -1.0, 1.0))


class SqueezeExcite(nn.Module):
    """Scales each channel of [N, C, H, W] by a gate computed from all of them; the shape stays.

    Args:
        channels: C.
        hidden: widths of the fully connected layers between squeeze and excitation, at least one.
        squeeze: how a channel's map becomes one number.
        excitation: the last non-linearity; those between the layers are ReLU.
        bias: whether the layers have biases (the released SENets do, the paper's ablations do not).
    """

    def __init__(
        self,
        channels: int,
        hidden: Sequence[int],
        *,
        squeeze: Squeeze = "avg",
        excitation: Excitation = "sigmoid",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.excitation = excitation
        widths = (channels, *hidden, channels)
        layers = [nn.Linear(i, o, bias=bias) for i, o in pairwise(widths)]
        for layer in layers[:-1]:
            _start_with_units_on(layer)
        self.fc = nn.ModuleList(layers)

    def gate(self, x: Tensor) -> Tensor:
        """The gates of [N, C, H, W], as [N, C, 1, 1]."""
        z = SQUEEZES[self.squeeze](x)
        for layer in self.fc[:-1]:
            z = torch.relu(layer(z))
        return EXCITATIONS[self.excitation](self.fc[-1](z))[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        return x * self.gate(x)

    def extra_repr(self) -> str:
        """What ``repr`` shows beside the layers."""
        return f"squeeze={self.squeeze}, excitation={self.excitation}"
