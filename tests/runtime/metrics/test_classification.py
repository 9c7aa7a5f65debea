"""Metrics of classification, against published arithmetic, an independent count, and cases small enough to check by eye."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.metrics import make_tally, per_class_lines
from dlcv.runtime.metrics.classification import TOP_K, ClassificationTally, recall_per_class, scores_of

DENSENET201_MLP = np.array(
    [
        [3783, 4, 69, 43, 81, 11, 50],
        [8, 421, 7, 3, 6, 1, 1],
        [63, 2, 3849, 37, 84, 39, 71],
        [13, 1, 20, 7169, 24, 22, 35],
        [68, 4, 63, 40, 4522, 8, 109],
        [17, 0, 40, 15, 9, 3070, 21],
        [40, 0, 37, 63, 101, 9, 4735],
    ],
    np.int64,
)
"""A published confusion matrix, rows true; its per-class recall is known."""


def tally_of(truth: list[int], answers: list[list[float]]) -> ClassificationTally:
    tally = ClassificationTally(len(answers[0]))
    for label, answer in zip(truth, answers, strict=True):
        tally.add(np.array(label, np.int64), np.array(answer, np.float32))
    return tally


def one_hot(index: int, classes: int) -> list[float]:
    return [float(k == index) for k in range(classes)]


def test_recall_of_the_published_confusion_matrix() -> None:
    """Image by image, so that rows are the truth and not the prediction."""
    tally = ClassificationTally(7)
    for true in range(7):
        for said in range(7):
            for _ in range(int(DENSENET201_MLP[true, said])):
                tally.add(np.array(true), np.array(one_hot(said, 7)))
    assert np.array_equal(tally.confusion, DENSENET201_MLP)
    scores = tally.scores()
    # printed with one decimal, truncated, not rounded
    assert [math.floor(v * 1000) / 10 for v in scores.recall] == [93.6, 94.1, 92.8, 98.4, 93.9, 96.7, 94.9]
    assert scores.accuracy == pytest.approx(27549 / DENSENET201_MLP.sum())
    assert scores.balanced_accuracy == pytest.approx(sum(scores.recall) / 7)
    assert (scores.majority_class, scores.majority) == (3, pytest.approx(7284 / DENSENET201_MLP.sum()))


def test_2187_of_2500_images_are_0_8748() -> None:
    """50 classes of 50 images, as the published ensemble of ResNet-101 was judged."""
    confusion = np.zeros((50, 50), np.int64)
    hits = np.array([50] * 43 + [37] + [0] * 6)  # 2187; which classes they fall in does not matter
    confusion[np.arange(50), np.arange(50)] = hits
    confusion[np.arange(50), (np.arange(50) + 1) % 50] = 50 - hits
    scores = scores_of(confusion)
    assert scores.count == 2500
    assert scores.accuracy == 0.8748
    assert scores.majority == 50 / 2500


@pytest.mark.parametrize("seed", range(3))
def test_against_a_count_image_by_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 9, 60).tolist()
    answers = rng.normal(size=(60, 9)).tolist()
    scores = tally_of(truth, answers).scores()
    said = [max(range(9), key=lambda k: answer[k]) for answer in answers]
    assert scores.accuracy == pytest.approx(sum(a == b for a, b in zip(truth, said, strict=True)) / 60)
    ranked = [sorted(range(9), key=lambda k: -answer[k])[:TOP_K] for answer in answers]
    assert scores.top_k_accuracy == pytest.approx(sum(t in r for t, r in zip(truth, ranked, strict=True)) / 60)
    for index in range(9):
        mine = [b for a, b in zip(truth, said, strict=True) if a == index]
        expected = sum(b == index for b in mine) / len(mine) if mine else math.nan
        assert scores.recall[index] == pytest.approx(expected, nan_ok=True)
    assert scores.predicted_classes == len(set(said))


def test_equal_scores_gain_nothing() -> None:
    """A constant predictor over 10 classes is never among the first five, and never right by luck of the order alone."""
    constant = [0.1] * 10
    assert tally_of(list(range(10)), [constant] * 10).scores().top_k_accuracy == 0
    five_above = [0.2] * 5 + [0.0] * 5
    assert tally_of([0, 9], [five_above, five_above]).scores().top_k_accuracy == 0.5


def test_a_score_that_is_not_a_number_is_not_among_the_first() -> None:
    assert tally_of([0], [[math.nan, 0.5, 0.5, 0, 0, 0]]).scores().top_k_accuracy == 0


def test_the_recall_of_a_class_that_does_not_occur_is_nan_and_left_out() -> None:
    scores = tally_of([0, 0, 1], [one_hot(0, 3), one_hot(1, 3), one_hot(1, 3)]).scores()
    assert scores.recall == pytest.approx((0.5, 1.0, math.nan), nan_ok=True)
    assert scores.balanced_accuracy == 0.75
    assert scores.accuracy == pytest.approx(2 / 3)


def test_nothing_counted_gives_nan_without_a_warning() -> None:
    scores = ClassificationTally(3).scores()
    assert scores.count == scores.predicted_classes == 0
    assert all(math.isnan(v) for v in (*scores.figures().values(), *scores.recall))
    assert np.isnan(recall_per_class(np.zeros((2, 2), np.int64))).all()


def test_a_model_that_says_one_class_has_the_majoritys_accuracy() -> None:
    scores = tally_of([0, 1, 1, 2], [one_hot(1, 3)] * 4).scores()
    assert scores.predicted_classes == 1
    assert scores.accuracy == scores.majority == 0.5
    assert scores.balanced_accuracy == pytest.approx(1 / 3)


def test_tallies_merge() -> None:
    truth, answers = [0, 1, 2, 2], [one_hot(k, 6) for k in (0, 2, 2, 5)]
    whole, first, second = tally_of(truth, answers), tally_of(truth[:1], answers[:1]), tally_of(truth[1:], answers[1:])
    first.merge(second)
    assert np.array_equal(first.confusion, whole.confusion)
    assert first.scores().figures() == whole.scores().figures() != second.scores().figures()


def test_the_names_that_files_and_people_see() -> None:
    scores = tally_of([0, 1], [one_hot(0, 2), one_hot(0, 2)]).scores()
    assert (scores.headline_name, scores.headline, scores.per_class_name) == ("accuracy", 0.5, "recall")
    assert list(scores.figures()) == ["accuracy", "balanced_accuracy", "top_5_accuracy", "majority_accuracy"]
    assert per_class_lines(scores, ("a", "b")) == [("a", 1.0), ("b", 0.0)]
    assert isinstance(make_tally("classification", 2), ClassificationTally)


def answer(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("truth", "given", "message"),
    [
        (0, answer(4), r"expected scores of 3 classes, got an array \(4,\)"),
        (0, answer(1, 3), r"expected scores of 3 classes, got an array \(1, 3\)"),
        (3, answer(3), r"expected a class index 0\.\.2, got 3"),
        (-1, answer(3), r"expected a class index 0\.\.2, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(truth: int, given: NDArray[np.float32], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassificationTally(3).add(np.array(truth), given)
