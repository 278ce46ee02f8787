"""Small tensors on their way to a device."""

import torch
from torch import Tensor


def moved(values: Tensor, device: torch.device) -> Tensor:
    """The values on a device. A GPU is not waited for: the copy takes its turn behind what the GPU has to do."""
    if device.type != "cuda" or values.device.type == "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
