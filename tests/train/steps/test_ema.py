"""The moving average of the weights, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlcv.train.steps.ema import AveragedModel


def test_the_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    values = [1.0, 4.0, -2.0, 0.5]
    with torch.no_grad():
        model.weight.fill_(values[0])
    averaged, expected = AveragedModel(model, 0.25), values[0]
    for step, value in enumerate(values[1:], 1):
        with torch.no_grad():
            model.weight.fill_(value)
        averaged.update(model, step)
        decay = min(0.25, (1 + step) / (10 + step))  # 2/11, then 3/12 is the decay itself
        expected = decay * expected + (1 - decay) * value
        # float64
        assert averaged.model.weight.item() == pytest.approx(expected, rel=1e-12)
    assert model.weight.item() == values[-1]


def test_statistics_are_averaged_and_counters_copied() -> None:
    model = nn.BatchNorm2d(2)
    averaged = AveragedModel(model, 0.5)
    model.train()(torch.randn(4, 2, 3, 3) + 5)
    averaged.update(model, 1)
    copy = averaged.model
    assert int(copy.num_batches_tracked) == int(model.num_batches_tracked) == 1
    assert torch.allclose(copy.running_mean, model.running_mean * 9 / 11)  # from 0, the decay after one step is 2/11
    assert not copy.training and not any(p.requires_grad for p in copy.parameters())
