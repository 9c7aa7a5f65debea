"""DeepLabv3: Chen, Papandreou, Schroff and Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, on
ResNet-101 with output stride 8. Names, shapes and arithmetic are those of torchvision's `deeplabv3_resnet101`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlcv.train.models.layers import scaled
from dlcv.train.models.resnet import STAGE_CHANNELS, Bottleneck, initialise_resnet, resnet_layers

RATES = (12, 24, 36)
"""Dilations of the pyramid at output stride 8 (Chen et al. 2017, section 3.3)."""

HEAD_CHANNELS = 256


def upsampled(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """float (N, C, h, w) -> float (N, C, *size_hw), bilinear between pixel centres."""
    return functional.interpolate(x, size=size_hw, mode="bilinear", align_corners=False)


def convolution(before: int, after: int, kernel: int, dilation: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size, batch normalisation, ReLU."""
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(before, after, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


class ImagePooling(nn.Sequential):
    """The mean of the whole image at every place: float (N, before, h, w) -> float (N, after, h, w).

    In training its batch normalisation sees one value an image and channel, so a batch needs two images at least.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *convolution(before, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Raises ValueError for a batch of one in training."""
        if self[2].training and x.shape[0] < 2:
            raise ValueError(
                "deeplabv3 was given a batch of 1 image to train on, expected 2 at least: the batch normalisation "
                "behind its image pooling has one value an image; take a larger batch and drop a last one of 1"
            )
        size_hw = (x.shape[2], x.shape[3])
        for layer in self:
            x = layer(x)
        return upsampled(x, size_hw)


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling (ASPP): 1 x 1, 3 x 3 at three dilations and image pooling, side by side."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*convolution(before, after, 1)),
                *(nn.Sequential(*convolution(before, after, 3, rate)) for rate in RATES),
                ImagePooling(before, after),
            ]
        )
        self.project = nn.Sequential(*convolution(len(self.convs) * after, after, 1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """float (N, before, h, w) -> float (N, after, h, w)."""
        return self.project(torch.cat([branch(x) for branch in self.convs], 1))  # type: ignore[no-any-return]


class DeepLabV3ResNet101(nn.Module):
    """DeepLabv3 of Chen et al. 2017 on ResNet-101, for images of any size.

    With `auxiliary` a second, small head on the third stage helps the backbone to train (Zhao et al., "Pyramid Scene Parsing
    Network", CVPR 2017); it runs in training mode alone.
    """

    size_divisor = 1

    def __init__(self, classes: int, width: float = 1.0, auxiliary: bool = False) -> None:
        super().__init__()
        third, fourth = (scaled(channels, width) * Bottleneck.expansion for channels in STAGE_CHANNELS[2:])
        head = scaled(HEAD_CHANNELS, width)
        self.backbone = nn.Sequential(resnet_layers(101, width, dilated_stages=2))
        initialise_resnet(self.backbone)
        self.classifier = nn.Sequential(Pyramid(fourth, head), *convolution(head, head, 3), nn.Conv2d(head, classes, 1))
        self.aux_classifier = None
        if auxiliary:
            self.aux_classifier = nn.Sequential(
                *convolution(third, head, 3), nn.Dropout(0.1), nn.Conv2d(head, classes, 1)
            )

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Normalised float (N, 3, H, W) -> logits float (N, classes, H, W).

        In training mode with the auxiliary head: the logits and those of the auxiliary head, both float (N, classes, H, W).
        Training mode needs a batch of 2 images or more.
        """
        size_hw = (image.shape[2], image.shape[3])
        third = self.backbone[:-1](image)  # (N, 1024, H/8, W/8), rounded up
        fourth = self.backbone[-1](third)  # (N, 2048, H/8, W/8)
        logits = upsampled(self.classifier(fourth), size_hw)
        if self.aux_classifier is None or not self.training:
            return logits
        return logits, upsampled(self.aux_classifier(third), size_hw)

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published ResNet-101's tensors as the backbone, without its linear layer; names of this model stay as they are."""
        own = ("backbone.", "classifier.", "aux_classifier.")
        return {
            name if name.startswith(own) else f"backbone.{name}": tensor
            for name, tensor in state.items()
            if not name.startswith("fc.")
        }
