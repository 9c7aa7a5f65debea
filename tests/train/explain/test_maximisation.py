"""Gradient ascent: far above what random inputs give, in real colours, the same for a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dlcv.train.explain import maximisation
from dlcv.train.explain.layers import Layer, layers_of
from dlcv.train.explain.maximisation import activations, maximise
from dlcv.train.explain.run import open_subject
from dlcv.train.explain.subject import Subject

STEPS = 48


@pytest.fixture(scope="module")
def trained(tiny_classifier: Callable[[int], Path]) -> Subject:
    return open_subject(tiny_classifier(0), "cpu")


def layer_named(subject: Subject, name: str) -> Layer:
    return next(layer for layer in layers_of(subject.model, (32, 32)) if layer.name == name)


def random_best(subject: Subject, layer: Layer, filters: list[int], count: int = 64) -> np.ndarray:
    """The highest mean of the positive part of each filter's map on images of noise of the same deviation as the data."""
    generator = torch.Generator().manual_seed(9)
    best = np.full(len(filters), -np.inf)
    for _ in range(count):
        inputs = torch.randn(1, 3, 32, 32, generator=generator).expand(len(filters), -1, -1, -1)
        with torch.no_grad():
            best = np.maximum(best, activations(subject, layer, inputs, filters).relu().mean((1, 2)).numpy())
    return best


@pytest.mark.parametrize("name", ["conv1", "conv3", "fc"])
def test_the_activation_rises_far_above_that_of_random_inputs(trained: Subject, name: str) -> None:
    layer = layer_named(trained, name)
    every = list(range(min(12, layer.channels)))
    filters = [k for k, best in zip(every, random_best(trained, layer, every), strict=True) if best > 0][:3]
    assert len(filters) >= 2, "some are dead in so small a network"
    found = maximise(trained, layer, filters, steps=STEPS, seed=0)
    assert found.images.shape == (len(filters), 32, 32, 3)
    # Twice as far above the start as the best of 64 images of noise: they lie within a few deviations of each other.
    best = random_best(trained, layer, filters)
    assert (found.after > best).all()
    assert (found.after - found.before >= 2 * (best - found.before)).all(), (found.before, best, found.after)
    assert (found.highest >= found.after).all()


def test_more_filters_than_go_at_once_and_a_seed(trained: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_named(trained, "conv2")
    whole = maximise(trained, layer, [0, 1, 2], steps=4, seed=5)
    assert np.array_equal(whole.images, maximise(trained, layer, [0, 1, 2], steps=4, seed=5).images)
    assert not np.array_equal(whole.images, maximise(trained, layer, [0, 1, 2], steps=4, seed=6).images)
    monkeypatch.setattr(maximisation, "AT_ONCE", 2)
    steps: list[int] = []
    parts = maximise(trained, layer, [0, 1, 2], steps=4, seed=5, advance=steps.append)
    assert parts.images.shape == whole.images.shape
    assert sum(steps) == 8


def test_variation_is_held_down(trained: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the pictures legible: without it neighbouring pixels differ far more."""

    def roughness() -> float:
        images = maximise(trained, layer_named(trained, "conv3"), [0, 1, 2], steps=STEPS, seed=0).images.astype(float)
        return float(np.abs(np.diff(images, axis=2)).mean())

    held = roughness()
    monkeypatch.setattr(maximisation, "VARIATION", 0.0)
    assert held < 0.7 * roughness()


def test_a_filter_without_a_gradient_gives_grey_noise_and_no_nan(trained: Subject) -> None:
    layer = replace(layer_named(trained, "conv1"))
    model = trained.model.get_submodule("conv1")
    weight = model.weight.detach().clone()  # type: ignore[union-attr, operator]
    try:
        with torch.no_grad():
            model.weight[0] = 0  # type: ignore[index, operator]
        found = maximise(trained, layer, [0], steps=3, seed=0)
    finally:
        with torch.no_grad():
            model.weight.copy_(weight)  # type: ignore[union-attr, operator]
    assert found.images.std() > 5, "noise, and no plain colour: what comes of a nan"


def test_a_filter_of_edges_finds_edges_and_no_plain_colour(subject_around: Callable[..., Subject]) -> None:
    """The plain mean of its map is that of its negative, and highest for nothing in particular."""
    edge = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1, bias=False))
    with torch.no_grad():
        edge[0].weight[:] = torch.tensor([-1.0, 0.0, 1.0])  # dark left, bright right
    subject = subject_around(edge, 32, "segmentation", 1)
    layer = layer_named(subject, "0")
    image = maximise(subject, layer, [0], steps=STEPS, seed=0).images[0].astype(float)
    across, down = np.abs(np.diff(image, axis=1)).mean(), np.abs(np.diff(image, axis=0)).mean()
    assert across > 15, "levels from pixel to pixel"
    assert across > 2 * down
