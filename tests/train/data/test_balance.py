"""Balanced sampling: weights by hand, and what is drawn of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.train.data.augment import Augmentation
from dlcv.train.data.balance import image_weights, weights_from_counts
from dlcv.train.data.examples import EpochBatches, TrainingImages


def test_an_images_weight_is_its_classes_inverse_frequency() -> None:
    weights = weights_from_counts(np.array([[1, 0], [1, 0], [1, 0], [0, 1]]))
    assert weights == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])  # each class half of what is drawn


def test_masks_weigh_by_the_mean_rarity_of_their_pixels() -> None:
    # 20 pixels, of class 0 15 and of class 1 5: rarities 4/3 and 4
    weights = weights_from_counts(np.array([[10, 0], [5, 5]]))
    rarities = np.array([4 / 3, (4 / 3 + 4) / 2])
    assert weights == pytest.approx(rarities / rarities.sum())


def test_without_counted_pixels_never_or_all_alike() -> None:
    assert weights_from_counts(np.array([[0, 0], [2, 2]])).tolist() == [0.0, 1.0]
    assert weights_from_counts(np.zeros((4, 3), np.int64)).tolist() == [0.25] * 4


def test_classes_are_drawn_alike(split_pictures: tuple[ClassificationSet, ClassificationSet]) -> None:
    """Of 40 pictures of four classes, those of one class are thinned out to 2."""
    training = split_pictures[0]
    labels = [int(training.label(example)) for example in training.examples]
    some = [e for k, (e, label) in enumerate(zip(training.examples, labels, strict=True)) if label != 0]
    rare = [e for e, label in zip(training.examples, labels, strict=True) if label == 0][:2]
    uneven = training.with_examples([*rare, *some])
    batches = EpochBatches(len(uneven), 8, 0, weights=image_weights(uneven))
    drawn: Counter[int] = Counter()
    for batches.epoch in range(1, 101):
        drawn.update(int(uneven.label(uneven.examples[key[1]])) for batch in batches for key in batch)
    total = sum(drawn.values())
    assert total == 100 * 32
    # binomial: a share of 1/4 of 3200 has a standard deviation of 0.0077; four of them
    assert all(abs(drawn[label] / total - 0.25) < 0.031 for label in range(4))


def test_uncounted_classes_do_not_weigh(training: SegmentationSet) -> None:
    counts = np.stack([training.with_examples([example]).counts() for example in training.examples])
    counts[:, list(training.uncounted)] = 0
    assert image_weights(training) == pytest.approx(weights_from_counts(counts))
    assert image_weights(training).sum() == pytest.approx(1)


def test_an_image_drawn_again_is_augmented_otherwise(training: SegmentationSet) -> None:
    weights = np.zeros(len(training))
    weights[3] = 1.0
    batches = EpochBatches(len(training), 2, seed=0, weights=weights)
    batches.epoch = 5
    keys = [key for batch in batches for key in batch]
    assert keys == [(5, 3), *((5, 3, again) for again in range(1, 8))]
    items = TrainingImages(training, Augmentation(32), 0)
    assert len({items[key][0].numpy().tobytes() for key in keys}) > 4


def test_each_epoch_draws_anew_and_repeats() -> None:
    weights = np.full(20, 1 / 20)
    orders = []
    for epoch in (1, 2, 1):
        batches = EpochBatches(20, 5, 3, weights=weights)
        batches.epoch = epoch
        orders.append(list(batches))
    assert orders[0] == orders[2] != orders[1]
