"""VGG16's convolutions: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, configuration D. The layers stand at the indices that torchvision's `vgg16().features` gives them, so that its published
weights load by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dlcv.train.models.layers import scaled

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions in each stage; a 2 x 2 max pooling ends a stage."""

POOL3_END, POOL4_END, POOL5_END = 17, 24, 31
"""Where in `features` the output of pool3 (stride 8), pool4 (stride 16) and pool5 (stride 32) is complete."""

CONVOLUTIONALISED = {"classifier.0": ("fc6", 7), "classifier.3": ("fc7", 1)}
"""Fully connected layer of torchvision's `vgg16` -> the convolution that it is, and that one's kernel."""


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


def convolutions_from_vgg16(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The fully connected layers of a VGG16 as convolutions (Long et al. 2015, section 3.1).

    Args:
        state: torchvision's `vgg16`: `classifier.0.weight` float (4096, 25088), `classifier.3.weight` float (4096, 4096).

    Returns:
        `fc6.weight` float (4096, 512, 7, 7), `fc7.weight` float (4096, 4096, 1, 1) and their biases; every other tensor, and
        a weight that no such kernel fits, under its own name.
    """
    taken = {}
    for name, tensor in state.items():
        layer, _, kind = name.rpartition(".")
        convolution, kernel = CONVOLUTIONALISED.get(layer, ("", 0))
        if convolution and kind == "bias":
            taken[f"{convolution}.bias"] = tensor
        elif convolution and kind == "weight" and tensor.ndim == 2 and tensor.shape[1] % kernel**2 == 0:
            # torchvision flattens (N, 512, 7, 7) in this order
            taken[f"{convolution}.weight"] = tensor.reshape(
                tensor.shape[0], -1, kernel, kernel
            )  # (out, in, kernel, kernel)
        else:
            taken[name] = tensor
    return taken
