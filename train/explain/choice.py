"""Which of many examples are looked at: of each class as many as of any other, as far as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.datasets.labelled import Example, LabelledSet


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """At most `count` indices in ascending order, drawn so that no class has two more than another that has any left.

    Args:
        labels: int64 (n,), a class each.
        count: how many are wanted.
        seed: of the draw; which of the classes get one more is drawn too.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    turn = np.zeros(len(labels), np.int64)  # an item is the how manyeth of its class
    for label in np.unique(labels):
        own = order[labels[order] == label]
        turn[own] = np.arange(len(own))
    ranked = order[np.argsort(turn[order], kind="stable")]
    return np.sort(ranked[:count]).astype(np.int64)


def chosen_examples(labelled: LabelledSet[Any], count: int, seed: int) -> Sequence[Example]:
    """At most `count` examples: stratified for classification; tiles, which hold several classes, evenly spaced."""
    if labelled.task == "segmentation":
        return labelled.evenly(count).examples
    labels = np.array([int(labelled.label(example)) for example in labelled.examples], np.int64)
    return [labelled.examples[k] for k in stratified(labels, count, seed)]
