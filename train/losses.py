"""Losses and class weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlcv.runtime.errors import DatasetError

LOSSES = {
    "cross-entropy": "every pixel or image counts the same",
    "weighted-cross-entropy": "a class weighs the logarithm of its inverse frequency",
}

AUXILIARY_WEIGHT = 0.4


def log_inverse_frequency(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Class weights: log(1 / f) for a class that is the share f of all pixels or images; 0 for a class that does not occur.

    Args:
        counts: int64 (classes,), pixels or images of each class in the training labels.

    Returns:
        float64 (classes,), at least 0.

    Raises:
        ValueError: when there are none.
    """
    total = counts.sum()
    if total == 0:
        raise ValueError("expected labelled pixels or images, got none")
    share = counts / total
    return np.where(counts > 0, -np.log(np.where(counts > 0, share, 1.0)), 0.0)


def make_loss(name: str, counts: NDArray[np.int64] | None, device: torch.device) -> nn.CrossEntropyLoss:
    """The loss by name: logits float (N, C, ...) and labels int64 (N, ...) -> mean over pixels or images, in nats.

    Args:
        name: a key of `LOSSES`.
        counts: int64 (classes,), see `log_inverse_frequency`; used by `weighted-cross-entropy` alone.
        device: where the weights are put.

    Raises:
        DatasetError: when the training labels hold fewer than two classes, which leaves nothing to weigh.
    """
    if name == "cross-entropy":
        return nn.CrossEntropyLoss()
    if counts is None:
        raise ValueError("weighted-cross-entropy needs the counts of each class")
    if np.count_nonzero(counts) < 2:  # log(1 / 1) = 0: every weight would be 0, and the mean 0 / 0
        raise DatasetError("weighted-cross-entropy needs two classes or more in the training labels; use cross-entropy")
    weights = torch.tensor(log_inverse_frequency(counts), dtype=torch.float32, device=device)
    return nn.CrossEntropyLoss(weight=weights)


def total_loss(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor | tuple[Tensor, Tensor], labels: Tensor
) -> Tensor:
    """The loss of a model's outputs in training; an auxiliary head's counts `AUXILIARY_WEIGHT` (Zhao et al. 2017, "PSPNet")."""
    if isinstance(outputs, tuple):
        return loss(outputs[0], labels) + AUXILIARY_WEIGHT * loss(outputs[1], labels)
    return loss(outputs, labels)
