"""Outputs of a session -> a mask or probabilities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dlcv.runtime.answers import answers_of, confident_answers_of, segmented_of, softmax


def test_masks() -> None:
    scores = np.zeros((2, 3, 4, 5), np.float32)
    scores[1, 2] = 1
    for outputs in (
        {"logits": scores},
        {"probs": scores},
        {"mask": scores.argmax(1).astype(np.uint8), "logits": -scores},
    ):
        mask = answers_of(outputs, "segmentation")
        assert mask.dtype == np.uint8
        assert Counter(mask.ravel().tolist()) == {0: 20, 2: 20}


def test_probabilities() -> None:
    logits = np.array([[0, np.log(3)], [1000, 1000]], np.float32)  # the second would overflow exp
    expected = [[0.25, 0.75], [0.5, 0.5]]
    probs = answers_of({"logits": logits}, "classification")
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs, expected, atol=1e-6)  # float32's rounding
    given = np.array(expected, np.float32)
    assert answers_of({"probs": given, "logits": logits}, "classification") is given


def test_softmax_over_the_second_axis() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    probs = softmax(logits)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(probs.argmax(1), logits.argmax(1))


def test_three_forms_of_an_answer_say_the_same() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 5, 6, 7)).astype(np.float32).round(1)  # rounded: ties are there
    probs = softmax(logits)
    expected = probs.argmax(1)
    for outputs in ({"logits": logits}, {"probs": probs}):
        for k, answer in enumerate(confident_answers_of(outputs)):
            segmented = segmented_of(answer)
            assert (segmented.mask.dtype, segmented.mask.shape) == (np.uint8, (6, 7))
            np.testing.assert_array_equal(segmented.mask, expected[k])
            assert segmented.confidence is not None
            assert segmented.confidence.dtype == np.float32
            np.testing.assert_allclose(segmented.confidence, probs[k].max(0), atol=1e-6)  # float32's rounding
    blended = segmented_of(probs[1])
    np.testing.assert_array_equal(blended.mask, expected[1])
    np.testing.assert_array_equal(blended.confidence, probs[1].max(0))
    mask = expected[0].astype(np.uint8)
    assert segmented_of(mask).mask is mask
    assert segmented_of(mask).confidence is None
    with pytest.raises(ValueError, match=r"expected uint8 \(h, w\).*got int64 \(6, 7\)"):
        segmented_of(expected[0])


def test_the_first_of_equal_scores_and_256_classes() -> None:
    scores = np.zeros((1, 256, 1, 3), np.float32)
    scores[0, 255, 0, 1] = scores[0, 254, 0, 2] = scores[0, 255, 0, 2] = 1
    assert answers_of({"logits": scores}, "segmentation").tolist() == [[[0, 255, 254]]]


def test_a_pixel_without_a_number_has_no_confidence() -> None:
    scores = np.zeros((1, 3, 1, 2), np.float32)
    scores[0, 1, 0, 0] = np.nan
    for outputs in ({"logits": scores}, {"probs": scores}):
        confidence = segmented_of(confident_answers_of(outputs)[0]).confidence
        assert confidence is not None
        assert np.isnan(confidence).tolist() == [[True, False]]
