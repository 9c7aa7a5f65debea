"""How much a model computes: parameters, and multiply-adds of its convolutions and matrix products."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dlcv.train.models import create_model


@dataclass(frozen=True)
class Operations:
    """Of one image.

    Attributes:
        parameters: trained values.
        multiply_adds: of convolutions, transposed convolutions and linear layers; biases, normalisation and pooling are not
            counted, as is usual (He et al. 2016, table 1). One is two floating-point operations.
    """

    parameters: int
    multiply_adds: int


def count_operations(
    name: str,
    size_hw: tuple[int, int],
    *,
    classes: int = 7,
    width: float = 1.0,
    options: Mapping[str, Any] | None = None,
) -> Operations:
    """Counts without computing: on torch's meta device, where tensors have shapes and no values.

    Args:
        name: in the registry.
        size_hw: of the image, in pixels.
        classes, width, options: see `create_model`.
    """
    with torch.device("meta"):
        model = create_model(name, classes=classes, width=width, options=options).eval()
        total = 0

        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal total
            total += _multiply_adds(layer, inputs[0], output)

        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                layer.register_forward_hook(add)
        model(torch.empty(1, 3, *size_hw))
    return Operations(sum(p.numel() for p in model.parameters()), total)


def _multiply_adds(layer: nn.Module, given: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.ConvTranspose2d):  # each input value meets the whole kernel of each of its output channels
        return given.numel() * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Conv2d):
        return output.numel() * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)
    assert isinstance(layer, nn.Linear)
    return output.numel() * layer.in_features
