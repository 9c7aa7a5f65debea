"""Losses and class weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlcv.runtime.errors import DatasetError

LOSSES = {
    "cross-entropy": "every pixel or image counts the same",
    "weighted-cross-entropy": "a class weighs the logarithm of its inverse frequency",
    "focal": "what is predicted well already counts less",
    "dice": "segmentation: the overlap of each class that an image shows counts the same, whatever its area",
}

AUXILIARY_WEIGHT = 0.4
FOCAL_GAMMA = 2.0
"""Lin et al. 2017, section 4.1."""


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy, its mean weighted by class where `weight` is given."""

    def normaliser(self, labels: Tensor) -> Tensor:
        """What the mean divides by: how many labels there are, or the sum of their weights."""
        if self.weight is None:
            return torch.tensor(float(labels.numel()))
        return self.weight[labels].sum()


class Focal(nn.Module):
    """Focal loss (Lin et al. 2017): the mean of -(1 - p)^gamma log p, p being the probability of the true class.

    Args:
        gamma: at least 0; 0 is cross-entropy.
        uncounted: classes whose pixels or images are left out.
    """

    def __init__(self, gamma: float = FOCAL_GAMMA, uncounted: Sequence[int] = ()) -> None:
        super().__init__()
        self._gamma, self._uncounted = gamma, tuple(uncounted)

    def normaliser(self, labels: Tensor) -> Tensor:
        """How many labels count."""
        return _counted(labels, self._uncounted).sum()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits float (N, C, ...) and labels int64 (N, ...) -> their mean; nan where no label counts."""
        log_p = torch.log_softmax(logits, 1).gather(1, labels[:, None])[:, 0]  # (N, C, ...) -> (N, ...)
        rest = (1 - log_p.exp()).clamp_min(1e-12)  # below gamma 1 the gradient at 0 would be infinite
        return -(rest**self._gamma * log_p)[_counted(labels, self._uncounted)].mean()


class Dice(nn.Module):
    """Soft Dice loss with squares in the denominator (Milletari et al. 2016, "V-Net"), of each image and class in it.

    For a class with probabilities p and truth g over an image's pixels, 1 - 2 sum(p g) / (sum(p^2) + sum(g^2)); the loss is the
    mean over all pairs of an image and a class that occurs in its labels.

    Args:
        uncounted: classes whose pixels are left out.
    """

    def __init__(self, uncounted: Sequence[int] = ()) -> None:
        super().__init__()
        self._uncounted = tuple(uncounted)

    def normaliser(self, labels: Tensor) -> Tensor:
        """How many pairs of an image and a class in it there are."""
        pairs = [image[_counted(image, self._uncounted)].unique().numel() for image in labels]
        return torch.tensor(float(sum(pairs)))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits float (N, C, H, W) and labels int64 (N, H, W) -> their mean; nan where no label counts."""
        counted = _counted(labels, self._uncounted)[:, None]
        truth = nn.functional.one_hot(labels, logits.shape[1]).movedim(-1, 1) * counted  # (N, H, W, C) -> (N, C, H, W)
        p, g = (logits.softmax(1) * counted).flatten(2), truth.to(logits.dtype).flatten(2)  # (N, C, H * W)
        both, present = (p * g).sum(2), g.any(2)
        dice = 2 * both / (p.square().sum(2) + g.sum(2)).clamp_min(1e-12)  # g is 0 or 1, its own square
        return (1 - dice)[present].mean()


Loss = CrossEntropy | Focal | Dice


def _counted(labels: Tensor, uncounted: Sequence[int]) -> Tensor:
    """bool, of the labels' shape: which of them are of a counted class."""
    counted = torch.ones_like(labels, dtype=torch.bool)
    for label in uncounted:
        counted &= labels != label
    return counted


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


def make_loss(
    name: str,
    counts: NDArray[np.int64] | None,
    device: torch.device,
    *,
    gamma: float = FOCAL_GAMMA,
    uncounted: Sequence[int] = (),
) -> Loss:
    """The loss by name: logits float (N, C, ...) and labels int64 (N, ...) -> mean over pixels or images, in nats.

    Args:
        name: a key of `LOSSES`.
        counts: int64 (classes,), see `log_inverse_frequency`; used by `weighted-cross-entropy` alone.
        device: where the weights are put.
        gamma: of `focal`.
        uncounted: classes that `focal` and `dice` leave out; cross-entropy learns them too.

    Raises:
        DatasetError: when the training labels hold fewer than two classes, which leaves nothing to weigh.
    """
    if name == "cross-entropy":
        return CrossEntropy()
    if name == "focal":
        return Focal(gamma, uncounted)
    if name == "dice":
        return Dice(uncounted)
    if counts is None:
        raise ValueError("weighted-cross-entropy needs the counts of each class")
    if np.count_nonzero(counts) < 2:  # log(1 / 1) = 0: every weight would be 0, and the mean 0 / 0
        raise DatasetError("weighted-cross-entropy needs two classes or more in the training labels; use cross-entropy")
    weights = torch.tensor(log_inverse_frequency(counts), dtype=torch.float32, device=device)
    return CrossEntropy(weight=weights)


def total_loss(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor | tuple[Tensor, Tensor], labels: Tensor
) -> Tensor:
    """The loss of a model's outputs in training; an auxiliary head's counts `AUXILIARY_WEIGHT` (Zhao et al. 2017, "PSPNet")."""
    if isinstance(outputs, tuple):
        return loss(outputs[0], labels) + AUXILIARY_WEIGHT * loss(outputs[1], labels)
    return loss(outputs, labels)
