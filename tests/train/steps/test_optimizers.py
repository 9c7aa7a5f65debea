"""Optimizers: the published update rules, and the rate where none is given."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlcv.train.settings.groups import OptimizerSettings
from dlcv.train.steps.optimizers import SGD_RATE, default_learning_rate, highest_rate, make_optimizer


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))


def path(settings: OptimizerSettings, gradients: list[float]) -> list[float]:
    model, seen = Point(), []
    optimizer = make_optimizer(model, settings)
    for gradient in gradients:
        model.x.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        seen.append(model.x.item())
    return seen


def test_sgd_by_hand() -> None:
    settings = OptimizerSettings(optimizer="sgd", learning_rate=0.1, momentum=0.5, weight_decay=0.2)
    x, velocity, expected = 2.0, 0.0, []
    for gradient in (1.0, -3.0, 0.5):
        velocity = 0.5 * velocity + gradient + 0.2 * x
        x -= 0.1 * velocity
        expected.append(x)
    assert path(settings, [1.0, -3.0, 0.5]) == pytest.approx(expected, rel=1e-12)  # float64


def test_adamw_by_hand() -> None:
    settings = OptimizerSettings(learning_rate=0.1, weight_decay=0.2)
    x, m, v, expected = 2.0, 0.0, 0.0, []
    for t, gradient in enumerate((1.0, -3.0, 0.5), 1):
        x -= 0.1 * 0.2 * x
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        x -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        expected.append(x)
    assert path(settings, [1.0, -3.0, 0.5]) == pytest.approx(
        expected, rel=1e-9
    )  # float64; the order of operations is torch's


def test_the_rate_is_the_asked_one_or_the_optimizers() -> None:
    plain, normalised = nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert highest_rate(plain, OptimizerSettings(learning_rate=0.3), 0.5) == 0.3
    assert highest_rate(plain, OptimizerSettings(), 0.5) == default_learning_rate(0.5, batch_normalised=False)
    assert highest_rate(normalised, OptimizerSettings(), 0.5) == default_learning_rate(0.5, batch_normalised=True)
    assert highest_rate(normalised, OptimizerSettings(optimizer="sgd"), 0.5) == SGD_RATE


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown optimizer 'adam'; known: adamw, sgd"):
        make_optimizer(Point(), OptimizerSettings(optimizer="adam"))
