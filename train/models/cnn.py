"""A plain convolutional network, after LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE 1998, with ReLU and global average pooling. Small enough to look at every filter.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from dlcv.train.models.layers import initialise, require_at_least, scaled

CHANNELS = (64, 128, 512)


class Cnn3(nn.Sequential):
    """Three convolutions after LeCun et al. 1998, then the global average pooling of Lin, Chen and Yan, "Network In Network", ICLR
    2014, and a linear layer: normalised float (N, 3, H, W), H and W at least 8 -> logits float (N, classes).
    """

    size_divisor = 1

    def __init__(self, classes: int, width: float = 1.0) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = 3
        for number, channels in enumerate(CHANNELS, 1):
            layers[f"conv{number}"] = nn.Conv2d(before, scaled(channels, width), 3, padding=1)
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
            layers[f"pool{number}"] = nn.MaxPool2d(2, 2)
            before = scaled(channels, width)
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)  # (N, 512, 1, 1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(before, classes)
        super().__init__(layers)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """As the class says; raises ValueError for an image of which the poolings leave nothing."""
        require_at_least(x, 2 ** len(CHANNELS))
        for layer in self:
            x = layer(x)
        return x
