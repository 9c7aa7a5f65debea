"""The single definition of every metric, used by training, evaluation and parity."""

from __future__ import annotations

from collections.abc import Sequence

from dlcv.runtime.metrics.base import Scores, Tally, per_class_lines
from dlcv.runtime.metrics.classification import ClassificationScores, ClassificationTally
from dlcv.runtime.metrics.segmentation import SegmentationScores, SegmentationTally

__all__ = [
    "ClassificationScores",
    "ClassificationTally",
    "Scores",
    "SegmentationScores",
    "SegmentationTally",
    "Tally",
    "make_tally",
    "per_class_lines",
]


def make_tally(task: str, classes: int, uncounted: Sequence[int] = ()) -> Tally:
    """An empty tally.

    Args:
        task: `segmentation` or `classification`.
        classes: how many there are.
        uncounted: indices that the mean over classes leaves out.
    """
    return SegmentationTally(classes, uncounted) if task == "segmentation" else ClassificationTally(classes)
