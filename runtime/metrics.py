"""Metrics of segmentation, from one confusion matrix: the single definition, used by training, evaluation and parity.

Definitions follow Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015: a class's IoU
is TP / (TP + FP + FN) over all pixels of all tiles together (not a mean of per-tile values). The mean leaves out the classes
that a dataset does not count (`unknown` of DeepGlobe) and those that neither truth nor prediction contains; pixels whose
truth is an uncounted class still count as false positives of what was predicted there, as in the reports behind this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels by true class (row) and predicted class (column).

    Args:
        truth: uint8, any shape, class indices 0..classes-1.
        prediction: the same shape and range.

    Returns:
        int64 (classes, classes).

    Raises:
        ValueError: when shapes differ or an index is not below `classes`.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"expected masks of one shape, got truth {truth.shape} and prediction {prediction.shape}")
    if truth.size and max(int(truth.max()), int(prediction.max())) >= classes:
        raise ValueError(
            f"expected class indices 0..{classes - 1}, got up to {max(int(truth.max()), int(prediction.max()))}"
        )
    pairs = truth.ravel().astype(np.intp) * classes + prediction.ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def iou_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 (classes,), 0..1; nan for a class that neither truth nor prediction contains."""
    hit = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    iou: NDArray[np.float64] = np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)
    return iou


def mean_iou(confusion: NDArray[np.int64], uncounted: Sequence[int] = ()) -> float:
    """Mean over the counted classes that occur, 0..1; nan when none does."""
    iou = np.delete(iou_per_class(confusion), list(uncounted))
    return float(np.mean(iou[~np.isnan(iou)])) if np.any(~np.isnan(iou)) else float("nan")


def pixel_accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of pixels predicted right, 0..1, over all classes; nan without pixels."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def majority_confusion(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """The confusion matrix that the same truth gives a predictor which always says the commonest true class."""
    truth = confusion.sum(1)
    always = np.zeros_like(confusion)
    always[:, int(np.argmax(truth))] = truth
    return always


@dataclass(frozen=True)
class Scores:
    """What one confusion matrix says.

    Attributes:
        mean_iou: over the counted classes, 0..1.
        iou: a value a class, 0..1, nan where the class does not occur.
        pixel_accuracy: 0..1.
        majority_mean_iou: of the predictor that always says the commonest true class, 0..1.
        majority_class: its index.
        predicted_classes: how many different classes were predicted.
        pixels: how many pixels were compared.
    """

    mean_iou: float
    iou: tuple[float, ...]
    pixel_accuracy: float
    majority_mean_iou: float
    majority_class: int
    predicted_classes: int
    pixels: int


def scores_of(confusion: NDArray[np.int64], uncounted: Sequence[int] = ()) -> Scores:
    """All of `Scores` from a confusion matrix, int64 (classes, classes), rows true."""
    return Scores(
        mean_iou=mean_iou(confusion, uncounted),
        iou=tuple(float(v) for v in iou_per_class(confusion)),
        pixel_accuracy=pixel_accuracy(confusion),
        majority_mean_iou=mean_iou(majority_confusion(confusion), uncounted),
        majority_class=int(np.argmax(confusion.sum(1))),
        predicted_classes=int(np.count_nonzero(confusion.sum(0))),
        pixels=int(confusion.sum()),
    )
