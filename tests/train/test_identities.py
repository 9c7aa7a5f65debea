"""Identities that hold on paper, through the code that training runs: gradients of the losses, and batch normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlcv.train.models import create_model, list_models
from dlcv.train.steps.losses import AUXILIARY_WEIGHT, log_inverse_frequency, make_loss, total_loss

CPU = torch.device("cpu")
EXACT = {"rtol": 0.0, "atol": 1e-12}
"""float64 throughout: roundings of some hundred operations on values around 1."""


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_binary_cross_entropy_after_a_sigmoid() -> None:
    """With x_n = sigmoid(w . z_n), the gradient of the summed loss by w is sum_n (x_n - t_n) z_n."""
    features, truth = torch.randn(12, 5, dtype=torch.float64), torch.randint(0, 2, (12,)).double()
    weights = torch.randn(5, dtype=torch.float64, requires_grad=True)
    prediction = torch.sigmoid(features @ weights)
    nn.functional.binary_cross_entropy(prediction, truth, reduction="sum").backward()
    assert weights.grad is not None
    expected = ((prediction.detach() - truth)[:, None] * features).sum(0)
    torch.testing.assert_close(weights.grad, expected, **EXACT)


def test_our_loss_of_two_classes_is_binary_cross_entropy() -> None:
    """softmax([0, a]) is sigmoid(a): the same sum over n, divided by N, out of `make_loss`."""
    features, truth = torch.randn(12, 5, dtype=torch.float64), torch.randint(0, 2, (12,))
    weights = torch.randn(5, dtype=torch.float64, requires_grad=True)
    scores = features @ weights
    make_loss("cross-entropy", None, CPU)(torch.stack([torch.zeros_like(scores), scores], 1), truth).backward()
    expected = ((torch.sigmoid(scores.detach()) - truth)[:, None] * features).sum(0) / len(truth)
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad, expected, **EXACT)


@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 5)], ids=["images", "pixels"])
def test_cross_entropy_after_a_softmax(shape: tuple[int, ...]) -> None:
    """The gradient by the logits is (softmax - onehot) / N, N the number of images or pixels."""
    logits, labels = _logits(shape)
    make_loss("cross-entropy", None, CPU)(logits, labels).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, _prediction_less_truth(logits, labels) / labels.numel(), **EXACT)


@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 5)], ids=["images", "pixels"])
def test_weighted_cross_entropy_after_a_softmax(shape: tuple[int, ...]) -> None:
    """Each image's or pixel's part counts the weight of its true class, and the weights' sum stands for N."""
    logits, labels = _logits(shape)
    counts = np.array([50, 30, 19, 1], np.int64)
    make_loss("weighted-cross-entropy", counts, CPU).double()(logits, labels).backward()
    # the loss holds its weights in float32; the same ones here
    weight = torch.from_numpy(log_inverse_frequency(counts).astype(np.float32)).double()[labels]
    assert logits.grad is not None
    expected = weight.unsqueeze(1) * _prediction_less_truth(logits, labels) / weight.sum()
    torch.testing.assert_close(logits.grad, expected, **EXACT)


def test_the_auxiliary_loss_adds_its_share() -> None:
    """By the auxiliary logits the gradient is 0.4 (softmax - onehot) / N, and by the others it is as without."""
    (logits, labels), (other, _) = _logits((6, 4)), _logits((6, 4))
    total_loss(make_loss("cross-entropy", None, CPU), (logits, other), labels).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and other.grad is not None
    torch.testing.assert_close(logits.grad, _prediction_less_truth(logits, labels) / 6, **EXACT)
    torch.testing.assert_close(other.grad, AUXILIARY_WEIGHT * _prediction_less_truth(other, labels) / 6, **EXACT)


def _normalised(name: str) -> bool:
    with torch.device("meta"):
        return any(isinstance(layer, nn.BatchNorm2d) for layer in create_model(name, width=0.1).modules())


@pytest.mark.parametrize("name", [name for name in list_models() if _normalised(name)])
def test_a_constant_batch_normalises_to_beta(name: str) -> None:
    """Every batch normalisation of a model: values that do not vary become its shift, whatever its scale."""
    model = create_model(name, classes=3, width=0.05).train()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(layers) > 5
    for layer in layers:
        with torch.no_grad():
            layer.weight.normal_()
            layer.bias.normal_()
        constant = torch.randint(-8, 8, (1, layer.num_features, 1, 1)).float().expand(4, -1, 3, 3)
        result = layer(constant)
        # whole numbers: their float32 mean is exact, so that nothing but beta is left
        assert torch.equal(result, layer.bias.view(1, -1, 1, 1).expand_as(result))


def test_a_constant_batch_leaves_a_whole_model_without_variation() -> None:
    """Four times the same image: every answer of a ResNet in training mode is the same."""
    model = create_model("resnet18", classes=3, width=0.1).train()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 32, 32).expand(4, -1, -1, -1))
    assert logits.std(0).max() < 1e-5  # float32 sums over a batch


def _logits(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    logits = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, shape[1], (shape[0], *shape[2:]))


def _prediction_less_truth(logits: Tensor, labels: Tensor) -> Tensor:
    exponentials = logits.detach().exp()
    truth = torch.zeros_like(exponentials).scatter_(1, labels.unsqueeze(1), 1.0)
    return exponentials / exponentials.sum(1, keepdim=True) - truth
