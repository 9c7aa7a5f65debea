"""The gradient against differences of the score itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from dlcv.train.explain.saliency import predicted_class, saliency
from dlcv.train.explain.subject import Subject, View

SIDE = 6


def smooth_net(task: str) -> nn.Module:
    """Two layers without a kink, so that differences approach the gradient."""
    layers: list[nn.Module] = [nn.Conv2d(3, 5, 3, padding=1), nn.Tanh()]
    if task == "classification":
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]
    else:
        layers += [nn.Conv2d(5, 3, 3, padding=1)]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for layer in layers:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return nn.Sequential(*layers)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_saliency_is_the_gradient_by_finite_differences(
    task: str, subject_around: Callable[..., Subject], random_view: Callable[..., View]
) -> None:
    subject, view = subject_around(smooth_net(task), SIDE, task, 3), random_view(SIDE, 4)
    found = saliency(subject, view)
    pixels = subject.pixels([view.image])

    def score(changed: torch.Tensor) -> float:
        with torch.no_grad():
            logits = subject.model(subject.normalised(changed)).double()[0, found.target]
        return float(logits[torch.from_numpy(found.region)].sum()) if task == "segmentation" else float(logits)

    expected = np.zeros((SIDE, SIDE, 3))
    for place in np.ndindex(SIDE, SIDE, 3):
        step = torch.zeros_like(pixels)
        step[(0, *place)] = (
            2.0  # levels: large beside float32's rounding of the score, small beside the net's curvature
        )
        expected[place] = (score(pixels + step) - score(pixels - step)) / 4.0
    if task == "segmentation":
        assert 0 < found.region.sum() < SIDE * SIDE, "the region is a real choice of pixels"
    # a step of 2/58 deviations: third-order terms of a tanh are about 1e-3 of the largest gradient
    np.testing.assert_allclose(found.map, np.abs(expected).max(-1), atol=5e-3 * np.abs(expected).max())
    assert found.map.max() > 0


def test_smoothgrad_averages_the_gradients_of_noisy_copies(
    subject_around: Callable[..., Subject], random_view: Callable[..., View]
) -> None:
    """Of a linear model all gradients are the same; of another they are not, and the seed decides."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 3))
    subject, view = subject_around(linear, SIDE, "classification", 3), random_view(SIDE)
    # float32 sums of 5 equal gradients
    np.testing.assert_allclose(saliency(subject, view, smooth=5).map, saliency(subject, view).map, rtol=1e-5)

    subject = subject_around(smooth_net("classification"), SIDE, "classification", 3)
    plain, smoothed = saliency(subject, view).map, saliency(subject, view, smooth=5, seed=2).map
    assert np.abs(plain - smoothed).max() > 0.01 * plain.max()
    assert np.array_equal(smoothed, saliency(subject, view, smooth=5, seed=2).map)
    assert not np.array_equal(smoothed, saliency(subject, view, smooth=5, seed=3).map)


def test_the_class_of_a_tile_is_the_counted_one_with_most_pixels() -> None:
    logits = torch.zeros(1, 3, 1, 6)
    logits[0, 2, 0, :4] = logits[0, 1, 0, 4:] = 1
    assert predicted_class(logits, ()) == 2
    assert predicted_class(logits, (2,)) == 1
    assert predicted_class(logits, (1, 2)) == 2, "where nothing else is predicted"
    assert predicted_class(torch.tensor([[0.0, 3.0, 1.0]]), (1,)) == 1
