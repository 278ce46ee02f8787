"""Windows of images cut out in batches, on the device that the images are on."""

import numpy as np
import torch
from torch import Tensor

from trainers.data.windows import Size, Window
from trainers.moving import moved


def cut(images: Tensor, windows: Window, size: Size) -> Tensor:
    """The windows of images [N, C, H, W] (uint8), scaled to ``size``: [N, C, height, width].

    Scaling is bilinear and widens with the step where it scales down, as Pillow's does. A window [4] goes for all
    images; if it is of whole pixels and keeps their size the result is a view of the images and nothing is copied.

    Args:
        images: what to cut from.
        windows: [4] or [N, 4].
        size: the height and width of the result.
    """
    _, channels, height, width = images.shape
    if windows.ndim == 1:
        edges = windows * (height, width, height, width)
        top, left, *extent = np.rint(edges).astype(int).tolist()
        if tuple(extent) == size and np.allclose(edges, (top, left, *size)):
            return images[:, :, top : top + size[0], left : left + size[1]]
    placed = moved(torch.from_numpy(np.atleast_2d(windows)).float(), images.device)
    rows = _weights(placed[:, 0], placed[:, 2], height, size[0])
    columns = _weights(placed[:, 1], placed[:, 3], width, size[1])
    # Bilinear scaling is a product with a matrix on either side. A sum over rows takes all channels at once.
    across = torch.matmul(images.float().flatten(1, 2), columns.mT)
    side_by_side = across.view(-1, channels, height, size[1]).transpose(1, 2).flatten(2)
    down = torch.matmul(rows, side_by_side).view(-1, size[0], channels, size[1])
    return down.transpose(1, 2).round().to(torch.uint8).contiguous()


def _weights(begin: Tensor, extent: Tensor, pixels: int, scaled: int) -> Tensor:
    """How much [N, scaled, pixels] each pixel of a side counts for each of the scaled window's."""
    device = begin.device
    step = (extent * (pixels / scaled))[:, None, None]
    centres = begin[:, None, None] * pixels + (torch.arange(scaled, device=device)[:, None] + 0.5) * step
    distances = (torch.arange(pixels, device=device) + 0.5 - centres).abs()
    weights = (1 - distances / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(dim=-1, keepdim=True)
