"""Metrics of classification.

Accuracy is the share of images whose class is right; a class's recall is the share of its images that are found; balanced accuracy
is the mean of the recalls of the classes that occur (Brodersen et al., "The Balanced Accuracy and Its Posterior Distribution",
ICPR 2010). An image is right among the top k when fewer than k other classes have a score as high or higher: equal scores
count against it, so that a constant predictor gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.metrics.base import Tally

TOP_K = 5
"""The k of top-k accuracy; where there are 5 classes or fewer it says nothing and is 1."""


@dataclass(frozen=True)
class ClassificationScores:
    """What one confusion matrix of images and the ranks of their true classes say.

    Attributes:
        accuracy: 0..1; nan without images.
        recall: a value a class, 0..1, nan where the class does not occur.
        balanced_accuracy: mean of the recalls of the classes that occur, 0..1.
        top_k_accuracy: share of images whose class is among the `TOP_K` highest scores.
        majority: share of the commonest true class: the accuracy of a predictor that always says it.
        majority_class: its index.
        predicted_classes: how many different classes were predicted.
        count: how many images were compared.
    """

    accuracy: float
    recall: tuple[float, ...]
    balanced_accuracy: float
    top_k_accuracy: float
    majority: float
    majority_class: int
    predicted_classes: int
    count: int

    headline_name = "accuracy"
    per_class_name = "recall"

    @property
    def headline(self) -> float:
        """The accuracy."""
        return self.accuracy

    @property
    def per_class(self) -> tuple[float, ...]:
        """The recalls."""
        return self.recall

    def figures(self) -> dict[str, float]:
        """The figures over all classes by their names in files."""
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            f"top_{TOP_K}_accuracy": self.top_k_accuracy,
            "majority_accuracy": self.majority,
        }


class ClassificationTally(Tally):
    """Confusion matrix of images, and how often the true class was among the first k."""

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)
        self._in_top_k = 0

    def add(self, truth: NDArray[Any], answer: NDArray[Any]) -> None:
        """See `Tally.add`."""
        classes, true = len(self.confusion), int(truth)
        if answer.shape != (classes,):
            raise ValueError(f"expected scores of {classes} classes, got an array {answer.shape}")
        if not 0 <= true < classes:
            raise ValueError(f"expected a class index 0..{classes - 1}, got {true}")
        self.confusion[true, int(answer.argmax())] += 1
        rank = int(np.count_nonzero(answer >= answer[true]))  # 0 where the score is not a number
        self._in_top_k += 1 <= rank <= TOP_K

    def merge(self, other: Tally) -> None:
        """See `Tally.merge`."""
        assert isinstance(other, ClassificationTally)
        self.confusion += other.confusion
        self._in_top_k += other._in_top_k

    def scores(self) -> ClassificationScores:
        """What was collected."""
        count = int(self.confusion.sum())
        return scores_of(self.confusion, self._in_top_k / count if count else float("nan"))


def recall_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 (classes,), 0..1; nan for a class that does not occur. `confusion` int64 (classes, classes), rows true."""
    hit, truth = np.diag(confusion).astype(np.float64), confusion.sum(1)
    recall: NDArray[np.float64] = np.divide(hit, truth, out=np.full(len(hit), np.nan), where=truth > 0)
    return recall


def scores_of(confusion: NDArray[np.int64], top_k_accuracy: float = float("nan")) -> ClassificationScores:
    """All of `ClassificationScores` from a confusion matrix, int64 (classes, classes), rows true."""
    count, recall = int(confusion.sum()), recall_per_class(confusion)
    found = recall[~np.isnan(recall)]
    truth = confusion.sum(1)
    return ClassificationScores(
        accuracy=float(np.trace(confusion) / count) if count else float("nan"),
        recall=tuple(float(v) for v in recall),
        balanced_accuracy=float(found.mean()) if len(found) else float("nan"),
        top_k_accuracy=top_k_accuracy,
        majority=float(truth.max() / count) if count else float("nan"),
        majority_class=int(np.argmax(truth)),
        predicted_classes=int(np.count_nonzero(confusion.sum(0))),
        count=count,
    )
