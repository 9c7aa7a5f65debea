"""Residual networks: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. Names, shapes, arithmetic
and initialisation are those of torchvision's `resnet18` to `resnet152`, so that its published weights load unchanged.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from dlcv.train.models.layers import scaled

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Depth -> residual blocks in each of the four stages; from 50 layers on they are bottlenecks (He et al. 2016, table 1)."""

STAGE_CHANNELS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and the way round them (He et al. 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(before, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, before, h, w) -> float (N, channels, h / stride, w / stride), rounded up."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 and the way round them (He et al. 2016, figure 5 right).

    The paper puts the stride into the first 1 x 1 (`stride_in_1x1`); torchvision puts it into the 3 x 3, which then sees every
    pixel. The weights have the same shapes, but were trained for one of the two.
    """

    expansion = 4

    def __init__(self, before: int, channels: int, stride: int, dilation: int, stride_in_1x1: bool) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        after = channels * self.expansion
        self.conv1 = nn.Conv2d(before, channels, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=second, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, before, h, w) -> float (N, 4 * channels, h / stride, w / stride), rounded up."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


def shortcut(before: int, after: int, stride: int) -> nn.Sequential | None:
    """The projection round a block whose output has another shape than its input, else none (He et al. 2016, option B)."""
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))


def resnet_layers(
    depth: int, width: float = 1.0, stride_in_1x1: bool = False, dilated_stages: int = 0
) -> OrderedDict[str, nn.Module]:
    """All layers of a ResNet before its pooling, by name and in the order in which they run.

    Args:
        depth: a key of `BLOCKS`.
        width: factor on the channels.
        stride_in_1x1: of bottlenecks; see there.
        dilated_stages: how many of the last stages keep the size and dilate instead (Chen et al. 2017): 0 gives output stride 32,
            1 gives 16, 2 gives 8. For bottlenecks only.
    """
    stem = scaled(STAGE_CHANNELS[0], width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(stem),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    before, dilation = stem, 1
    for number, (channels, count) in enumerate(zip(STAGE_CHANNELS, BLOCKS[depth], strict=True), 1):
        blocks: list[nn.Module] = []
        first_stride, first_dilation = 1 if number == 1 else 2, dilation
        if number > 4 - dilated_stages:  # the first block still reads the grid of the stage before
            first_stride, dilation = 1, 2 * dilation
        for index in range(count):
            stride, block_dilation = (first_stride, first_dilation) if index == 0 else (1, dilation)
            if depth < 50:
                blocks.append(BasicBlock(before, scaled(channels, width), stride))
                before = scaled(channels, width) * BasicBlock.expansion
            else:
                blocks.append(Bottleneck(before, scaled(channels, width), stride, block_dilation, stride_in_1x1))
                before = scaled(channels, width) * Bottleneck.expansion
        layers[f"layer{number}"] = nn.Sequential(*blocks)
    return layers


def initialise_resnet(module: nn.Module) -> None:
    """He et al. 2015 over the outgoing connections, as torchvision does; normalisations start at their defaults, 1 and 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class ResNet(nn.Sequential):
    """A ResNet of He et al. 2016: normalised float (N, 3, H, W) of any size -> logits float (N, classes)."""

    size_divisor = 1

    def __init__(self, depth: int, classes: int, width: float = 1.0, stride_in_1x1: bool = False) -> None:
        layers = resnet_layers(depth, width, stride_in_1x1)
        features = scaled(STAGE_CHANNELS[-1], width) * (BasicBlock if depth < 50 else Bottleneck).expansion
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)  # (N, features, 1, 1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(features, classes)
        super().__init__(layers)
        initialise_resnet(self)


def resnet18(classes: int, width: float = 1.0, stride_in_1x1: bool = False) -> ResNet:
    """ResNet-18 of He et al. 2016; its blocks have no 1 x 1, so `stride_in_1x1` makes no difference."""
    return ResNet(18, classes, width, stride_in_1x1)


def resnet34(classes: int, width: float = 1.0, stride_in_1x1: bool = False) -> ResNet:
    """ResNet-34 of He et al. 2016; its blocks have no 1 x 1, so `stride_in_1x1` makes no difference."""
    return ResNet(34, classes, width, stride_in_1x1)


def resnet50(classes: int, width: float = 1.0, stride_in_1x1: bool = False) -> ResNet:
    """ResNet-50 of He et al. 2016; `stride_in_1x1` as in the paper, without it as in torchvision."""
    return ResNet(50, classes, width, stride_in_1x1)


def resnet101(classes: int, width: float = 1.0, stride_in_1x1: bool = False) -> ResNet:
    """ResNet-101 of He et al. 2016; `stride_in_1x1` as in the paper, without it as in torchvision."""
    return ResNet(101, classes, width, stride_in_1x1)


def resnet152(classes: int, width: float = 1.0, stride_in_1x1: bool = False) -> ResNet:
    """ResNet-152 of He et al. 2016; `stride_in_1x1` as in the paper, without it as in torchvision."""
    return ResNet(152, classes, width, stride_in_1x1)
