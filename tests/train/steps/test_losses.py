"""Losses, against their formulas by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcv.runtime.errors import DatasetError
from dlcv.train.steps.losses import AUXILIARY_WEIGHT, LOSSES, log_inverse_frequency, make_loss, total_loss

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


def drawn(*shape: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(shape[0], classes, *shape[1:], dtype=torch.float64), torch.randint(0, classes, shape)


def test_focal_at_gamma_zero_is_cross_entropy() -> None:
    logits, labels = drawn(2, 4, 5)
    expected = make_loss("cross-entropy", None, CPU)(logits, labels)
    # float64: log-softmax on either way
    assert make_loss("focal", None, CPU, gamma=0.0)(logits, labels).item() == pytest.approx(expected.item(), rel=1e-12)


def test_focal_by_hand() -> None:
    """Lin et al. 2017, equation 4."""
    logits, labels = drawn(6)
    p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    expected = sum(-((1 - float(each)) ** 2) * math.log(float(each)) for each in p) / 6
    assert make_loss("focal", None, CPU)(logits, labels).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_a_sure_prediction_has_a_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = make_loss("focal", None, CPU, gamma=gamma)(logits, torch.tensor([0, 0]))
    loss.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_dice_of_a_perfect_prediction_is_zero_and_of_a_wrong_one_one() -> None:
    labels = torch.tensor([[[0, 1], [2, 0]]])
    logits = 60.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double()
    loss = make_loss("dice", None, CPU)
    assert loss(logits, labels).item() == pytest.approx(0, abs=1e-12)  # exp(-60) from a hard 0
    assert loss(logits, (labels + 1) % 3).item() == pytest.approx(1, abs=1e-12)


def test_dice_by_hand() -> None:
    """Milletari et al. 2016, section 3, of each image and class that is in it."""
    logits, labels = drawn(2, 3, 3)
    labels[0] = labels[0].clamp_max(1)  # the third class is not in the first image
    p, values = logits.softmax(1), []
    for n in range(2):
        for c in labels[n].unique().tolist():
            g = (labels[n] == c).double()
            values.append(1 - 2 * float((p[n, c] * g).sum()) / float((p[n, c] ** 2).sum() + (g**2).sum()))
    loss = make_loss("dice", None, CPU)
    assert loss(logits, labels).item() == pytest.approx(np.mean(values), rel=1e-12)
    assert float(loss.normaliser(labels)) == len(values) == 5


def test_dice_weighs_a_small_class_as_a_large_one() -> None:
    """One pixel of class 1 among 100, missed: half of the loss, where cross-entropy hardly sees it."""
    labels = torch.zeros(1, 10, 10, dtype=torch.int64)
    labels[0, 4, 4] = 1
    logits = torch.zeros(1, 2, 10, 10, dtype=torch.float64)
    logits[:, 0] = 30.0
    assert make_loss("dice", None, CPU)(logits, labels).item() == pytest.approx(0.5, abs=0.01)  # 1 - 198/199 beside it


@pytest.mark.parametrize("name", ["focal", "dice"])
def test_uncounted_labels_do_not_matter(name: str) -> None:
    logits, labels = drawn(2, 4, 4)
    loss = make_loss(name, None, CPU, uncounted=[2])
    value, moved = loss(logits, labels), logits.clone()
    where = (labels == 2)[:, None].expand_as(logits)
    moved[where] += torch.randn(int(where.sum()), dtype=torch.float64)
    assert where.any() and loss(moved, labels).item() == pytest.approx(value.item(), rel=1e-12)
    assert not math.isclose(float(make_loss(name, None, CPU)(logits, labels)), float(value), rel_tol=1e-3)
    nothing = torch.full_like(labels, 2)
    assert math.isnan(float(loss(logits, nothing))) and float(loss.normaliser(nothing)) == 0


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_of_all_is_that_of_its_parts_by_their_normalisers(name: str) -> None:
    logits, labels = drawn(5, 4, 4)
    loss = make_loss(name, np.array([5, 20, 75], np.int64), CPU, uncounted=[2]).double()
    parts = [(logits[:2], labels[:2]), (logits[2:], labels[2:])]
    sums = [(float(loss(*part)), float(loss.normaliser(part[1]))) for part in parts]
    together = sum(value * n for value, n in sums) / sum(n for _, n in sums)
    # weights are float32 where the sums are float64: 1e-6
    assert float(loss(logits, labels)) == pytest.approx(together, rel=1e-6)
