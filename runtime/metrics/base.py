"""What the metrics of every task have in common: answers are collected beside their truth, and scores come of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Scores(Protocol):
    """What a model's answers are worth.

    Attributes:
        headline_name: `mean IoU` or `accuracy`: the figure by which checkpoints and engines are compared.
        headline: its value, 0..1; nan where nothing was counted.
        majority: the same figure of a predictor that always says the commonest true class.
        majority_class: its index.
        per_class_name: `IoU` or `recall`.
        per_class: a value a class, 0..1, nan where the class does not occur.
        predicted_classes: how many different classes were predicted.
        count: how many pixels (segmentation) or images (classification) were compared.
    """

    @property
    def headline_name(self) -> str: ...
    @property
    def headline(self) -> float: ...
    @property
    def majority(self) -> float: ...
    @property
    def majority_class(self) -> int: ...
    @property
    def per_class_name(self) -> str: ...
    @property
    def per_class(self) -> tuple[float, ...]: ...
    @property
    def predicted_classes(self) -> int: ...
    @property
    def count(self) -> int: ...

    def figures(self) -> dict[str, float]:
        """The figures over all classes by their names in files (`mean_iou`, ...), the headline first, `majority_...` last."""
        ...


class Tally(ABC):
    """Collects answers beside their truth.

    Attributes:
        confusion: int64 (classes, classes): pixels or images by true class (row) and predicted class (column).
    """

    confusion: NDArray[np.int64]

    @abstractmethod
    def add(self, truth: NDArray[Any], answer: NDArray[Any]) -> None:
        """Adds one image.

        Args:
            truth: segmentation: uint8 (H, W), class indices; classification: a class index, an integer array ().
            answer: segmentation: the mask, uint8 (H, W); classification: scores of the classes, float (C,).

        Raises:
            ValueError: when shapes do not fit or an index is not below the number of classes.
        """

    @abstractmethod
    def merge(self, other: Tally) -> None:
        """Adds what another tally of the same kind has collected."""

    @abstractmethod
    def scores(self) -> Scores:
        """What was collected, as scores."""


def per_class_lines(scores: Scores, classes: Sequence[str], uncounted: Sequence[int] = ()) -> list[tuple[str, float]]:
    """Class names with their values, in order; uncounted classes say so."""
    names = [name + (" (not counted)" if k in uncounted else "") for k, name in enumerate(classes)]
    return list(zip(names, scores.per_class, strict=True))
