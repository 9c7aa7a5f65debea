"""Losses and class weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dlcv.runtime.errors import DatasetError

LOSSES = {
    "cross-entropy": "every pixel counts the same",
    "weighted-cross-entropy": "a class weighs the logarithm of its inverse frequency",
}


def log_inverse_frequency(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Class weights: log(1 / f) for a class that is the share f of all pixels; 0 for a class that does not occur.

    Args:
        pixels: int64 (classes,), pixels of each class in the training labels.

    Returns:
        float64 (classes,), at least 0.

    Raises:
        ValueError: when there are no pixels.
    """
    total = pixels.sum()
    if total == 0:
        raise ValueError("expected labelled pixels, got none")
    share = pixels / total
    return np.where(pixels > 0, -np.log(np.where(pixels > 0, share, 1.0)), 0.0)


def make_loss(name: str, pixels: NDArray[np.int64] | None, device: torch.device) -> nn.CrossEntropyLoss:
    """The loss by name: logits float (N, C, H, W) and labels int64 (N, H, W) -> mean over pixels, in nats.

    Args:
        name: a key of `LOSSES`.
        pixels: int64 (classes,); used by `weighted-cross-entropy` alone.
        device: where the weights are put.

    Raises:
        DatasetError: when the training labels hold fewer than two classes, which leaves nothing to weigh.
    """
    if name == "cross-entropy":
        return nn.CrossEntropyLoss()
    if pixels is None:
        raise ValueError("weighted-cross-entropy needs the pixels of each class")
    if np.count_nonzero(pixels) < 2:  # log(1 / 1) = 0: every weight would be 0, and the mean 0 / 0
        raise DatasetError("weighted-cross-entropy needs two classes or more in the training labels; use cross-entropy")
    weights = torch.tensor(log_inverse_frequency(pixels), dtype=torch.float32, device=device)
    return nn.CrossEntropyLoss(weight=weights)
