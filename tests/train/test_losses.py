"""Losses, against their formulas by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcv.runtime.errors import DatasetError
from dlcv.train.losses import AUXILIARY_WEIGHT, LOSSES, log_inverse_frequency, make_loss, total_loss

CPU = torch.device("cpu")


def test_weights_are_the_logarithm_of_the_inverse_frequency() -> None:
    weights = log_inverse_frequency(np.array([50, 25, 0, 24, 1], np.int64))
    # the last bits of log and division are not prescribed: 1e-12
    assert weights == pytest.approx([math.log(2), math.log(4), 0.0, math.log(100 / 24), math.log(100)], rel=1e-12)
    assert weights.dtype == np.float64


def test_a_class_that_is_everything_weighs_nothing() -> None:
    assert log_inverse_frequency(np.array([7, 0], np.int64)).tolist() == [0.0, 0.0]


def test_no_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="expected labelled pixels or images, got none"):
        log_inverse_frequency(np.zeros(3, np.int64))


def test_cross_entropy_is_the_mean_negative_log_softmax() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    total = 0.0
    for n, y, x in np.ndindex(2, 4, 5):
        exponentials = [math.exp(v) for v in logits[n, :, y, x].tolist()]
        total -= math.log(exponentials[int(labels[n, y, x])] / sum(exponentials))
    assert make_loss("cross-entropy", None, CPU)(logits, labels).item() == pytest.approx(total / 40, rel=1e-12)


def test_weighted_cross_entropy_is_the_weighted_mean() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    pixels = np.array([10, 30, 60], np.int64)
    value = make_loss("weighted-cross-entropy", pixels, CPU)(logits, labels)
    weight = torch.tensor([math.log(10), math.log(100 / 30), math.log(100 / 60)])[labels]
    each = -torch.log_softmax(logits, 1).gather(1, labels[:, None])[:, 0]
    # float32 sums over 32 pixels: 1e-6
    assert value.item() == pytest.approx(float((weight * each).sum() / weight.sum()), rel=1e-6)


def test_the_gradient_after_a_softmax_is_prediction_less_truth() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (6,))
    make_loss("cross-entropy", None, CPU)(logits, labels).backward()
    exponentials = logits.detach().exp()
    expected = exponentials / exponentials.sum(1, keepdim=True) - torch.eye(4, dtype=torch.float64)[labels]
    assert logits.grad is not None
    assert torch.allclose(logits.grad * 6, expected, rtol=0, atol=1e-12)  # float64 roundings


def test_weights_need_pixels_of_two_classes() -> None:
    with pytest.raises(DatasetError, match=r"needs two classes or more in the training labels; use cross-entropy"):
        make_loss("weighted-cross-entropy", np.array([0, 9, 0], np.int64), CPU)
    with pytest.raises(ValueError, match="needs the counts of each class"):
        make_loss("weighted-cross-entropy", None, CPU)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_by_name_can_be_made(name: str) -> None:
    assert torch.isfinite(
        make_loss(name, np.array([3, 4], np.int64), CPU)(
            torch.randn(1, 2, 3, 3), torch.ones(1, 3, 3, dtype=torch.int64)
        )
    )


def test_the_total_is_the_loss_and_a_share_of_the_auxiliary_one() -> None:
    torch.manual_seed(0)
    loss, labels = make_loss("cross-entropy", None, CPU), torch.randint(0, 3, (2, 4, 4))
    logits, other = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert AUXILIARY_WEIGHT == 0.4  # Zhao et al. 2017, section 4.1
    assert total_loss(loss, logits, labels) == loss(logits, labels)
    expected = float(loss(logits, labels)) + 0.4 * float(loss(other, labels))
    assert float(total_loss(loss, (logits, other), labels)) == pytest.approx(expected, rel=1e-6)  # float32
