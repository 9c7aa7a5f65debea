"""Outputs of a session -> a mask or probabilities."""

from __future__ import annotations

from collections import Counter

import numpy as np

from dlcv.runtime.answers import answers_of, softmax


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
