"""Metrics of segmentation, from one confusion matrix.

Definitions follow Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015: a class's IoU
is TP / (TP + FP + FN) over all pixels of all tiles together (not a mean of per-tile values). The mean leaves out the classes
that a dataset does not count (`unknown` of DeepGlobe) and those that neither truth nor prediction contains; pixels whose
truth is an uncounted class still count as false positives of what was predicted there, as in the reports behind this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.metrics.base import Tally


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
class SegmentationScores:
    """What one confusion matrix says.

    Attributes:
        mean_iou: over the counted classes, 0..1.
        iou: a value a class, 0..1, nan where the class does not occur.
        pixel_accuracy: 0..1.
        majority: mean IoU of the predictor that always says the commonest true class, 0..1.
        majority_class: its index.
        predicted_classes: how many different classes were predicted.
        count: how many pixels were compared.
    """

    mean_iou: float
    iou: tuple[float, ...]
    pixel_accuracy: float
    majority: float
    majority_class: int
    predicted_classes: int
    count: int

    headline_name = "mean IoU"
    per_class_name = "IoU"

    @property
    def headline(self) -> float:
        """The mean IoU."""
        return self.mean_iou

    @property
    def per_class(self) -> tuple[float, ...]:
        """The IoU of each class."""
        return self.iou

    def figures(self) -> dict[str, float]:
        """The figures over all classes by their names in files."""
        return {
            "mean_iou": self.mean_iou, "pixel_accuracy": self.pixel_accuracy, "majority_mean_iou": self.majority,
        }  # fmt: skip


class SegmentationTally(Tally):
    """Confusion matrix of pixels."""

    def __init__(self, classes: int, uncounted: Sequence[int] = ()) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)
        self._uncounted = tuple(uncounted)

    def add(self, truth: NDArray[Any], answer: NDArray[Any]) -> None:
        """See `Tally.add`."""
        self.confusion += confusion_matrix(truth, answer, len(self.confusion))

    def merge(self, other: Tally) -> None:
        """See `Tally.merge`."""
        self.confusion += other.confusion

    def scores(self) -> SegmentationScores:
        """What was collected."""
        return scores_of(self.confusion, self._uncounted)


def scores_of(confusion: NDArray[np.int64], uncounted: Sequence[int] = ()) -> SegmentationScores:
    """All of `SegmentationScores` from a confusion matrix, int64 (classes, classes), rows true."""
    return SegmentationScores(
        mean_iou=mean_iou(confusion, uncounted),
        iou=tuple(float(v) for v in iou_per_class(confusion)),
        pixel_accuracy=pixel_accuracy(confusion),
        majority=mean_iou(majority_confusion(confusion), uncounted),
        majority_class=int(np.argmax(confusion.sum(1))),
        predicted_classes=int(np.count_nonzero(confusion.sum(0))),
        count=int(confusion.sum()),
    )
