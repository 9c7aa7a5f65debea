"""Balanced sampling: how likely each training image is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.datasets.labelled import LabelledSet


def image_weights(labelled: LabelledSet[Any]) -> NDArray[np.float64]:
    """An image's weight is the mean, over its counted labels, of one over the share of their class in all counted labels.

    For classification a class is then drawn as often as any other. For segmentation an image with more of a rare class is drawn
    more often; one without counted pixels is never drawn.

    Args:
        labelled: the training images; all labels are read once.

    Returns:
        float64 (images,), adding up to 1; all alike where no label counts.
    """
    counts = np.stack(
        [labelled.with_examples([example]).counts() for example in labelled.examples]
    )  # (images, classes)
    counts[:, list(labelled.uncounted)] = 0
    return weights_from_counts(counts)


def weights_from_counts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """`image_weights` from the counted labels of each image: int64 (images, classes) -> float64 (images,)."""
    total, each = counts.sum(0), counts.sum(1)
    rarity = np.divide(total.sum(), total, out=np.zeros(len(total)), where=total > 0)
    weights = np.divide(counts @ rarity, each, out=np.zeros(len(counts)), where=each > 0)
    return weights / weights.sum() if weights.sum() else np.full(len(counts), 1 / len(counts))
