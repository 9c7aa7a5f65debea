"""Metrics of segmentation, against an independent count pixel by pixel and against arrays small enough to check by eye."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.metrics import make_tally, per_class_lines
from dlcv.runtime.metrics.segmentation import (
    SegmentationTally,
    confusion_matrix,
    iou_per_class,
    majority_confusion,
    mean_iou,
    pixel_accuracy,
    scores_of,
)

TRUTH = np.array([[0, 0, 1], [1, 1, 2]], np.uint8)
PREDICTION = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
BY_EYE = np.array([[1, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], np.int64)
"""The two above over four classes, of which the last does not occur."""


def sets_iou(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], index: int) -> float:
    """Intersection over union of two sets of pixel places, by the definition's words."""
    true = {place for place, value in enumerate(truth.ravel().tolist()) if value == index}
    said = {place for place, value in enumerate(prediction.ravel().tolist()) if value == index}
    return len(true & said) / len(true | said) if true | said else math.nan


def test_confusion_by_eye() -> None:
    confusion = confusion_matrix(TRUTH, PREDICTION, 4)
    assert confusion.dtype == np.int64 and confusion.tolist() == BY_EYE.tolist()
    assert iou_per_class(confusion) == pytest.approx([1 / 3, 2 / 4, 1.0, math.nan], nan_ok=True)
    assert mean_iou(confusion) == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert pixel_accuracy(confusion) == pytest.approx(4 / 6)


@pytest.mark.parametrize("seed", range(5))
def test_against_a_count_pixel_by_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 9))
    truth = rng.integers(0, classes, (11, 7), dtype=np.uint8)
    prediction = np.where(rng.random((11, 7)) < 0.6, truth, rng.integers(0, max(1, classes - 1), (11, 7))).astype(
        np.uint8
    )
    confusion = confusion_matrix(truth, prediction, classes)
    for t in range(classes):
        for p in range(classes):
            assert confusion[t, p] == sum(a == t and b == p for a, b in zip(truth.ravel(), prediction.ravel()))
    expected = [sets_iou(truth, prediction, index) for index in range(classes)]
    assert iou_per_class(confusion) == pytest.approx(expected, nan_ok=True)
    assert mean_iou(confusion, [0]) == pytest.approx(np.nanmean(expected[1:]))
    assert pixel_accuracy(confusion) == pytest.approx(float(np.mean(truth == prediction)))


def test_tiles_add_up() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 4, 8, 8), dtype=np.uint8)
    parts = sum(confusion_matrix(t, p, 5) for t, p in zip(truth, prediction))
    assert np.array_equal(parts, confusion_matrix(truth, prediction, 5))


def test_the_mean_leaves_out_uncounted_and_absent_classes() -> None:
    assert mean_iou(BY_EYE, [2]) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert mean_iou(BY_EYE, [2, 3]) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert mean_iou(BY_EYE, ()) == mean_iou(BY_EYE) == pytest.approx(11 / 18)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    confusion = confusion_matrix(np.array([0, 0], np.uint8), np.array([0, 1], np.uint8), 3)
    assert iou_per_class(confusion) == pytest.approx([0.5, 0.0, math.nan], nan_ok=True)
    assert mean_iou(confusion) == pytest.approx(0.25)


def test_pixels_of_an_uncounted_class_are_false_positives_elsewhere() -> None:
    confusion = confusion_matrix(np.array([0, 1], np.uint8), np.array([0, 0], np.uint8), 2)
    assert mean_iou(confusion, [1]) == pytest.approx(0.5)


def test_nothing_counted_gives_nan_without_a_warning() -> None:
    empty = np.zeros((3, 3), np.int64)
    assert math.isnan(mean_iou(empty)) and math.isnan(pixel_accuracy(empty))
    assert math.isnan(mean_iou(BY_EYE, range(4)))
    assert scores_of(empty).count == scores_of(empty).predicted_classes == 0


def test_the_majority_predictor_says_the_commonest_true_class() -> None:
    confusion = np.array([[2, 1, 0], [4, 1, 0], [0, 3, 0]], np.int64)  # 3, 5 and 3 pixels of truth
    assert majority_confusion(confusion).tolist() == [[0, 3, 0], [0, 5, 0], [0, 3, 0]]
    scores = scores_of(confusion)
    assert scores.majority_class == 1 and scores.majority == pytest.approx((0 + 5 / 11 + 0) / 3)


def test_scores_say_what_the_matrix_says() -> None:
    scores = scores_of(BY_EYE, uncounted=[2])
    assert scores.mean_iou == mean_iou(BY_EYE, [2]) and scores.pixel_accuracy == pytest.approx(4 / 6)
    assert scores.iou == pytest.approx((1 / 3, 1 / 2, 1.0, math.nan), nan_ok=True)
    assert (scores.predicted_classes, scores.count, scores.majority_class) == (3, 6, 1)
    assert scores.majority == pytest.approx((0 + 3 / 6) / 2)


def test_a_constant_prediction_predicts_one_class() -> None:
    constant = confusion_matrix(TRUTH, np.full_like(TRUTH, 1), 4)
    scores = scores_of(constant)
    assert scores.predicted_classes == 1 and scores.mean_iou == scores.majority


def test_all_256_classes_fit() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(confusion_matrix(every, every[::-1].copy(), 256), np.fliplr(np.eye(256, dtype=np.int64)))


def test_empty_masks_give_an_empty_matrix() -> None:
    nothing = np.zeros((0, 4), np.uint8)
    assert confusion_matrix(nothing, nothing, 3).tolist() == np.zeros((3, 3), int).tolist()


def test_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got truth \(2, 3\) and prediction \(3, 2\)"):
        confusion_matrix(TRUTH, PREDICTION.T, 4)


@pytest.mark.parametrize("where", ["truth", "prediction"])
def test_an_index_beyond_the_classes_is_refused(where: str) -> None:
    high, low = np.array([0, 3], np.uint8), np.array([0, 1], np.uint8)
    pair = (high, low) if where == "truth" else (low, high)
    with pytest.raises(ValueError, match=r"class indices 0\.\.2, got up to 3"):
        confusion_matrix(*pair, 3)


def test_a_tally_adds_up_and_merges() -> None:
    first, second = make_tally("segmentation", 4, [2]), make_tally("segmentation", 4, [2])
    assert isinstance(first, SegmentationTally)
    first.add(TRUTH, PREDICTION)
    second.add(TRUTH, TRUTH)
    first.merge(second)
    assert np.array_equal(first.confusion, BY_EYE + confusion_matrix(TRUTH, TRUTH, 4))
    assert first.scores().figures() == scores_of(first.confusion, [2]).figures()


def test_the_names_that_files_and_people_see() -> None:
    scores = scores_of(BY_EYE)
    assert (scores.headline_name, scores.headline, scores.per_class_name) == ("mean IoU", scores.mean_iou, "IoU")
    assert list(scores.figures()) == ["mean_iou", "pixel_accuracy", "majority_mean_iou"]
    assert scores.figures()["mean_iou"] == scores.mean_iou
    lines = per_class_lines(scores, ("a", "b", "c", "d"), (3,))
    assert [name for name, _ in lines] == ["a", "b", "c", "d (not counted)"]
    assert [value for _, value in lines] == pytest.approx(scores.per_class, nan_ok=True)
