"""The 3-layer CNN of "Variations of Squeeze and Excitation networks" (arXiv 2304.06502).

The paper gives the depth and that the SE module takes the place of the second convolution, not the widths;
those here are ours. ``second_conv=False`` leaves that convolution out, so that an SE block at ``conv1`` stands
where it stood.
"""

from torch import Tensor, nn


def cnn3(in_channels: int, num_classes: int, *, width: int = 32, second_conv: bool = True) -> nn.Module:
    """Three 3x3 convolutions of w, w and 2w channels; ``width`` is w."""
    return CNN3(in_channels, num_classes, width, second_conv)


class CNN3(nn.Module):
    """From images [N, in_channels, H, W] to logits [N, num_classes]; H and W at least 4."""

    def __init__(self, in_channels: int, num_classes: int, width: int, second_conv: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1) if second_conv else None
        self.conv3 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, num_classes]."""
        x = self.relu(self.conv1(x))
        if self.conv2 is not None:
            x = self.relu(self.conv2(x))
        x = self.pool(x)
        x = self.pool(self.relu(self.conv3(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
