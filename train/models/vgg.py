"""VGG16's convolutions: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, configuration D. The layers stand at the indices that torchvision's `vgg16().features` gives them, so that its published
weights load by name.
"""

from __future__ import annotations

from torch import nn

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions in each stage; a 2 x 2 max pooling ends a stage."""

POOL3_END, POOL4_END, POOL5_END = 17, 24, 31
"""Where in `features` the output of pool3 (stride 8), pool4 (stride 16) and pool5 (stride 32) is complete."""


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 8 (GPU matrix units work in eights), at least 8."""
    return channels if width == 1.0 else max(8, 8 * round(channels * width / 8))


def vgg16_features(width: float = 1.0) -> nn.Sequential:
    """float (N, 3, H, W) -> float (N, scaled(512), H // 32, W // 32)."""
    layers: list[nn.Module] = []
    before = 3
    for stage in STAGES:
        for channels in stage:
            after = scaled(channels, width)
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
            before = after
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)
