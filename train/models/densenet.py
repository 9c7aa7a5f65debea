"""DenseNet201 with an MLP head: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", CVPR
2017. `features` has the names, shapes and arithmetic of torchvision's `densenet201`, so that its published weights load.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dlcv.runtime.errors import UsageError
from dlcv.train.models.layers import require_at_least, scaled

BLOCKS = (6, 12, 48, 32)
"""Layers in each dense block (Huang et al. 2017, table 1, DenseNet-201)."""

GROWTH, STEM_CHANNELS, BOTTLENECK = 32, 64, 4
"""Channels that a layer adds, channels of the first convolution, and how many times GROWTH a layer's 1 x 1 gives."""

HEAD_CHANNELS = (1024, 512, 256)

SMALLEST = 29
"""Pixels a side of which the last transition leaves one."""

PUBLISHED_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")
"""The published file is older than torchvision's names: it has `denselayer1.norm.1.weight` for `denselayer1.norm1.weight`."""


class DenseLayer(nn.Module):
    """1 x 1, then 3 x 3, each behind normalisation and ReLU (DenseNet-B)."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, before, h, w) -> float (N, before + growth, h, w): its input and, behind it, what it adds."""
        y = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(y)))], 1)


def dense_block(before: int, growth: int, count: int) -> nn.Sequential:
    """float (N, before, h, w) -> float (N, before + count * growth, h, w)."""
    layers = {f"denselayer{i + 1}": DenseLayer(before + i * growth, growth) for i in range(count)}
    return nn.Sequential(OrderedDict(layers))


def transition(before: int) -> nn.Sequential:
    """Halves channels and size: float (N, before, h, w) -> float (N, before // 2, h // 2, w // 2)."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(before),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(before, before // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, stride=2),
        )
    )


def densenet201_features(width: float = 1.0) -> tuple[nn.Sequential, int]:
    """float (N, 3, H, W) -> float (N, 1920, about H / 32, W / 32) before the last ReLU; and the number of these channels."""
    channels, growth = scaled(STEM_CHANNELS, width), scaled(GROWTH, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv0=nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
        norm0=nn.BatchNorm2d(channels),
        relu0=nn.ReLU(inplace=True),
        pool0=nn.MaxPool2d(3, stride=2, padding=1),
    )
    for number, count in enumerate(BLOCKS, 1):
        layers[f"denseblock{number}"] = dense_block(channels, growth, count)
        channels += count * growth
        if number < len(BLOCKS):
            layers[f"transition{number}"] = transition(channels)
            channels //= 2
    layers["norm5"] = nn.BatchNorm2d(channels)
    return nn.Sequential(layers), channels


def mlp(before: int, hidden: tuple[int, ...], classes: int, dropout: float) -> nn.Sequential:
    """float (N, before) -> float (N, classes); ReLU and dropout behind each hidden layer."""
    layers: list[nn.Module] = []
    for after in hidden:
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        before = after
    return nn.Sequential(*layers, nn.Linear(before, classes))


class DenseNet201Mlp(nn.Module):
    """DenseNet-201 of Huang et al. 2017 whose linear layer is an MLP 1920 -> 1024 -> 512 -> 256 -> classes; made for 48 x 48."""

    size_divisor = 1

    def __init__(self, classes: int, width: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UsageError(
                f"dropout is {dropout}, expected 0 to below 1: the share of values set to zero in training"
            )
        self.features, features = densenet201_features(width)
        hidden = tuple(scaled(channels, width) for channels in HEAD_CHANNELS)
        self.classifier = mlp(features, hidden, classes, dropout)
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float (N, 3, H, W), H and W at least 29 -> logits float (N, classes)."""
        require_at_least(image, SMALLEST)
        x = torch.relu(self.features(image)).mean((2, 3))  # (N, 1920)
        return self.classifier(x)  # type: ignore[no-any-return]

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The published DenseNet201's tensors under today's names: `norm.1` and the like become `norm1`."""
        return {PUBLISHED_NAME.sub(r"\1\2.", name): tensor for name, tensor in state.items()}


def _initialise(model: nn.Module) -> None:
    """As torchvision: He et al. 2015 for convolutions, torch's own for linear layers but with biases zero."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
