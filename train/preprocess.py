"""Normalisation on the training side: the reference that an exported graph is held against, and written independently of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalise(images: Tensor, mean_rgb: Sequence[float], std_rgb: Sequence[float]) -> Tensor:
    """uint8 (N, H, W, 3), RGB -> float32 (N, 3, H, W), (value - mean) / std by channel, both in 8-bit levels (0..255).

    The result keeps the channels-last memory of its input, which convolutions on CPUs and GPUs prefer.
    """
    mean = torch.tensor(mean_rgb, dtype=torch.float32, device=images.device)
    std = torch.tensor(std_rgb, dtype=torch.float32, device=images.device)
    return ((images.to(torch.float32) - mean) / std).permute(0, 3, 1, 2)
