"""ResNets as first published, and ResNeXt-101 32x4d; with torchvision's parameter names.

He et al., "Deep Residual Learning", arXiv 1512.03385: https://arxiv.org/abs/1512.03385. There a bottleneck that
halves the map has its stride on the first 1x1 convolution, torchvision on the 3x3: fewer multiply-adds here, and
weights of the same shapes, so that either loads the other's.

Xie et al., "Aggregated Residual Transformations", arXiv 1611.05431: https://arxiv.org/abs/1611.05431. There the
stride is on the 3x3, as in torchvision, which has no ResNeXt-101 32x4d.
"""

from torch import nn

from search_space.errors import InputError

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
DEPTHS = tuple(_BLOCKS)


def resnet_v1(depth: int, in_channels: int, num_classes: int) -> nn.Module:
    """From images [N, in_channels, H, W] to logits [N, num_classes]: ResNet-50, 101 or 152.

    Raises:
        InputError: there is no ResNet of bottlenecks of that depth.
    """
    if depth not in _BLOCKS:
        raise InputError(f"a ResNet of bottlenecks has a depth of {', '.join(map(str, DEPTHS))}, not {depth}")
    network = _resnet(depth, in_channels, num_classes)
    for block in network.modules():
        conv1, conv2 = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if isinstance(conv1, nn.Conv2d) and isinstance(conv2, nn.Conv2d):
            conv1.stride, conv2.stride = conv2.stride, conv1.stride
    return network


def resnext101_32x4d(in_channels: int, num_classes: int) -> nn.Module:
    """From images [N, in_channels, H, W] to logits [N, num_classes]: 101 layers, 32 groups of 4 channels."""
    return _resnet(101, in_channels, num_classes, groups=32, width_per_group=4)


def _resnet(depth: int, in_channels: int, num_classes: int, **groups: int) -> nn.Module:
    from torchvision.models.resnet import Bottleneck, ResNet

    network: nn.Module = ResNet(Bottleneck, list(_BLOCKS[depth]), num_classes=num_classes, **groups)
    if in_channels != 3:
        network.conv1 = nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network
