"""U-Net: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015.

Two things are as is common today and not as in the paper: convolutions have "same" padding, so that the mask has the image's
size and nothing is cropped; and batch normalisation (Ioffe and Szegedy 2015) stands between a convolution and its ReLU.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dlcv.train.models.layers import initialise, require_multiple, scaled

CHANNELS = (64, 128, 256, 512, 1024)
"""Of the five levels, from the image's size down to a sixteenth."""


def double_convolution(before: int, after: int) -> nn.Sequential:
    """float (N, before, h, w) -> float (N, after, h, w)."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
    )  # fmt: skip


class UNet(nn.Module):
    """U-Net of Ronneberger et al. 2015, with "same" padding and batch normalisation: see the module's text."""

    size_divisor = 16

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__()
        channels = [scaled(c, width) for c in CHANNELS]
        pairs = list(pairwise(channels))
        self.down = nn.ModuleList([double_convolution(*pair) for pair in [(3, channels[0]), *pairs]])
        self.pool = nn.MaxPool2d(2, 2)
        self.up = nn.ModuleList([nn.ConvTranspose2d(below, here, 2, stride=2) for here, below in reversed(pairs)])
        self.join = nn.ModuleList([double_convolution(2 * here, here) for here, _ in reversed(pairs)])
        self.score = nn.Conv2d(channels[0], classes, 1)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float (N, 3, H, W), H and W multiples of 16 -> logits float (N, classes, H, W)."""
        require_multiple(image, self.size_divisor)
        x = self.down[0](image)
        levels = [x]  # the last is the deepest
        for down in self.down[1:]:
            levels.append(down(self.pool(levels[-1])))
        x = levels.pop()  # (N, 1024, H/16, W/16)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([levels.pop(), up(x)], 1))  # twice the size, half the channels
        return self.score(x)  # type: ignore[no-any-return]
