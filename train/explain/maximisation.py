"""Activation maximisation: Erhan, Bengio, Courville and Vincent, "Visualizing Higher-Layer Features of a Deep Network", 2009.

Left alone, the input that it finds is noise of high frequency. What makes it legible: the input is shifted a little at each step
(Mordvintsev, Olah and Tyka, "Inceptionism", 2015), drawn towards the mean colour (L2: Simonyan et al. 2014), and its neighbouring
pixels are drawn towards each other (total variation, here of squares: Mahendran and Vedaldi, "Understanding Deep Image
Representations by Inverting Them", CVPR 2015).

What rises is the mean of the positive part of the filter's map, which is what the next layer gets of it. The plain mean would not do:
of a first convolution it is the same for an edge as for its negative, and its highest is a plain colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dlcv.train.explain.layers import Layer
from dlcv.train.explain.subject import Subject
from dlcv.train.explain.watching import output_of, quiet, seeded

MOST_SIDE = 96
"""Pixels of an input's side, where the model's own is larger: a multiple of 32, which every model takes."""

LEAK = 0.05
"""Slope for negative activations, so that a filter that is silent on noise still rises."""

AT_ONCE = 8
"""Filters in one batch, which bounds memory."""

STEP = 0.2
"""Length of the first step, in standard deviations of the data; the last ones are a tenth of it."""
L2, VARIATION, START = 0.02, 0.2, 0.3
"""Weights of the regularisers beside a gradient of unit length; deviation of the noise that it begins from."""
JITTER = 8
"""The shift is up to one in so many of the side's pixels."""


@dataclass(frozen=True)
class Maximised:
    """Inputs that activate filters, found by gradient ascent.

    Attributes:
        images: uint8 (n, S, S, 3), RGB; one a filter.
        before: float32 (n,), the mean of the map's positive part on the noise that it began from.
        after: float32 (n,), likewise on `images`.
        highest: float32 (n,), the highest activation in the filter's map on `images`.
    """

    images: NDArray[np.uint8]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    highest: NDArray[np.float32]


def maximise(
    subject: Subject,
    layer: Layer,
    filters: Sequence[int],
    *,
    steps: int,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Maximised:
    """For each filter an image, of real colours, on which the filter is strong: see the module's text.

    Args:
        filters: indices of channels of the layer.
        steps: of gradient ascent.
        seed: of the noise that it begins from and of the shifts.
        advance: called with 1 for each step of a batch of `AT_ONCE` filters.
    """
    parts = [
        _ascend(subject, layer, filters[start : start + AT_ONCE], steps, seed, advance)
        for start in range(0, len(filters), AT_ONCE)
    ]
    return Maximised(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def activations(subject: Subject, layer: Layer, inputs: Tensor, filters: Sequence[int]) -> Tensor:
    """The map of the k-th filter on the k-th input: float (n, 3, S, S) -> float (n, h, w); differentiable."""
    maps = output_of(subject.model, layer.read_at, inputs)  # (n, C, h, w)
    return maps[range(len(filters)), list(filters)]


def _ascend(
    subject: Subject, layer: Layer, filters: Sequence[int], steps: int, seed: int, advance: Callable[[int], None]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    drawn = seeded(seed)
    size_hw = tuple(min(side, MOST_SIDE) for side in subject.card.input_size_hw)
    inputs = (START * torch.randn(len(filters), 3, *size_hw, generator=drawn)).to(subject.device)
    lowest, highest = (
        subject.normalised(torch.full((1, 1, 1, 3), level, device=subject.device)) for level in (0.0, 255.0)
    )
    with quiet(subject.model):
        before = _measured(subject, layer, inputs, filters)
        for step in range(steps):
            shift = [int(torch.randint(-(n // JITTER), n // JITTER + 1, (1,), generator=drawn)) for n in size_hw]
            shifted = inputs.roll(shift, (2, 3)).requires_grad_()
            strength = functional.leaky_relu(activations(subject, layer, shifted, filters), LEAK).mean((1, 2)).sum()
            gradient = torch.autograd.grad(strength, shifted)[0].roll([-n for n in shift], (2, 3))
            length = STEP * (1 - 0.9 * step / steps)
            inputs = inputs + length * (_unit(gradient) - L2 * inputs - VARIATION * _roughness(inputs))
            inputs = inputs.clamp(lowest, highest)
            advance(1)
        images = subject.denormalised(inputs)
        after = _measured(subject, layer, subject.normalised(subject.pixels(list(images))), filters)
    return images, before[0], after[0], after[1]


def _unit(gradient: Tensor) -> Tensor:
    """Each image's gradient over its root mean square, so that a step is as long in any layer of any model."""
    return gradient / gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)


def _roughness(inputs: Tensor) -> Tensor:
    """Gradient of half the sum of squared differences between neighbours: how far a pixel is from its four neighbours."""
    differences = [inputs - inputs.roll(by, axis) for axis in (2, 3) for by in (1, -1)]
    return torch.stack(differences).sum(0)


def _measured(
    subject: Subject, layer: Layer, inputs: Tensor, filters: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean of the positive part, and maximum, of each map: float32 (n,)."""
    with torch.no_grad():
        maps = activations(subject, layer, inputs, filters)
    return maps.relu().mean((1, 2)).float().cpu().numpy(), maps.amax((1, 2)).float().cpu().numpy()
