"""How much of an image a unit of a layer sees, and that part of an image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dlcv.train.explain.layers import Layer
from dlcv.train.explain.subject import Subject
from dlcv.train.explain.watching import output_of, quiet, seeded

SEARCHED = 256
"""Pixels of the side of the image that is searched, where the model's own is larger: a unit that sees more sees the whole."""
TRIES = 4
"""Random images whose gradients are joined: of what a max pooling reads, each finds one pixel alone."""


def receptive_field(subject: Subject, layer: Layer, seed: int = 0) -> tuple[int, int] | None:
    """Height and width, in pixels, of what a unit in the middle of a layer's map reads; None where that is all, or nearly.

    It is the box of the pixels with a gradient, so it holds for any model, whatever its layers are.
    """
    size_hw = [min(side, SEARCHED) for side in subject.card.input_size_hw]
    drawn = seeded(seed)
    reached = np.zeros(size_hw, np.bool_)
    with quiet(subject.model):
        for _ in range(TRIES):
            image = torch.randn(1, 3, *size_hw, generator=drawn).to(subject.device).requires_grad_()
            maps = output_of(subject.model, layer.read_at, image)  # (1, C, h, w)
            unit = maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum()
            reached |= (torch.autograd.grad(unit, image)[0][0] != 0).any(0).cpu().numpy()
    sides = [_extent(np.asarray(reached.any(axis))) for axis in (1, 0)]
    return (
        None if any(side > 0.75 * whole for side, whole in zip(sides, size_hw, strict=True)) else (sides[0], sides[1])
    )


def patch_box(
    place: tuple[float, float], field_hw: tuple[int, int] | None, size_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right, in pixels, of what a unit sees of an image; cut at the image's edges.

    Args:
        place: middle of the unit from the top and the left, as shares of the sides.
        field_hw: of `receptive_field`; None gives the whole image.
        size_hw: of the image.
    """
    if field_hw is None:
        return 0, 0, *size_hw
    first = [round(share * side - length / 2) for share, length, side in zip(place, field_hw, size_hw, strict=True)]
    begin = [max(0, start) for start in first]
    end = [min(side, start + length) for start, length, side in zip(first, field_hw, size_hw, strict=True)]
    return begin[0], begin[1], end[0], end[1]


def _extent(reached: NDArray[np.bool_]) -> int:
    places = np.flatnonzero(reached)
    return int(places[-1] - places[0]) + 1 if len(places) else 1
