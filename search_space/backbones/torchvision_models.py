"""torchvision's ResNets, ResNeXts and Wide ResNets by their own names, as torchvision builds them."""

from torch import nn

from search_space.errors import InputError

RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)


def torchvision_model(name: str, in_channels: int, num_classes: int) -> nn.Module:
    """The torchvision model of that name, without pretrained weights.

    Raises:
        InputError: the images do not have three channels.
    """
    if in_channels != 3:
        raise InputError(f"backbone {name} takes images of 3 channels, not {in_channels}")
    from torchvision.models import get_model

    model: nn.Module = get_model(name, weights=None, num_classes=num_classes)
    return model
