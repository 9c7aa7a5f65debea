"""Augmentation: random crops and flips of an image and its label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import UsageError
from dlcv.runtime.fitting.fitting import resized

FLIPS = {"both": (0, 1), "horizontal": (1,), "vertical": (0,), "none": ()}
"""Axes that are flipped with probability one half each. An aerial image has no up; a face has."""
ASPECT = 4 / 3
"""Of a random resized crop, at most, either way (Szegedy et al. 2015, "Going Deeper with Convolutions")."""
_TRIES = 10


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        crop: side of the square that training sees, in pixels.
        flips: a key of `FLIPS`.
        least_area: classification: the least share of an image's area that a random resized crop takes, above 0, up to 1.
        interpolation: classification: how the crop is scaled, as on the card.
    """

    crop: int
    flips: str = "both"
    least_area: float = 0.35
    interpolation: str = "area"

    def __post_init__(self) -> None:
        if self.flips not in FLIPS:
            raise UsageError(f"unknown flips {self.flips!r}; it is one of {', '.join(FLIPS)}")
        if not 0 < self.least_area <= 1:
            raise UsageError(f"--least-area is {self.least_area:g}, expected above 0 and at most 1")


def augment_tile(
    image_rgb: NDArray[np.uint8], label: NDArray[Any], augmentation: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Segmentation: a random square and its random flips, of image and mask alike.

    Args:
        image_rgb: uint8 (H, W, 3).
        label: uint8 (H, W), class indices.
        augmentation: its `crop` is the side of the square; a smaller tile is first padded by reflection.
        rng: decides; the same state gives the same crop.

    Returns:
        image uint8 (crop, crop, 3) and label uint8 (crop, crop), both contiguous.
    """
    crop = augmentation.crop
    image_rgb, label = _at_least(image_rgb, crop), _at_least(label, crop)
    height, width = label.shape
    y, x = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
    image_rgb, label = image_rgb[y : y + crop, x : x + crop], label[y : y + crop, x : x + crop]
    for axis in _flipped_axes(augmentation.flips, rng):
        image_rgb, label = np.flip(image_rgb, axis), np.flip(label, axis)
    return np.ascontiguousarray(image_rgb), np.ascontiguousarray(label)


def augment_image(
    image_rgb: NDArray[np.uint8], label: NDArray[Any], augmentation: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Classification: a random resized crop (Szegedy et al. 2015) and its random flips; the label stays.

    Args:
        image_rgb: uint8 (H, W, 3).
        label: int64 (), class index.
        augmentation: `crop`, `least_area`, `flips`, `interpolation`.
        rng: decides; the same state gives the same crop.

    Returns:
        image uint8 (crop, crop, 3), contiguous, and the label.
    """
    top, left, height, width = _random_area(image_rgb.shape[0], image_rgb.shape[1], augmentation.least_area, rng)
    size_hw = (augmentation.crop, augmentation.crop)
    image_rgb = resized(image_rgb[top : top + height, left : left + width], size_hw, augmentation.interpolation)
    for axis in _flipped_axes(augmentation.flips, rng):
        image_rgb = np.flip(image_rgb, axis)
    return np.ascontiguousarray(image_rgb), label


def _random_area(height: int, width: int, least_area: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a part that holds `least_area` to all of an image and is at most `ASPECT` long.

    When none is found, the largest middle part of such an aspect: all of an image that is not longer itself.
    """
    for _ in range(_TRIES):
        area = height * width * rng.uniform(least_area, 1)
        aspect = math.exp(rng.uniform(-math.log(ASPECT), math.log(ASPECT)))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if h <= height and w <= width and h * w >= least_area * height * width:  # rounding may have taken a row
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    h, w = min(height, round(width * ASPECT)), min(width, round(height * ASPECT))
    return (height - h) // 2, (width - w) // 2, h, w


def _flipped_axes(flips: str, rng: np.random.Generator) -> list[int]:
    return [axis for axis in FLIPS[flips] if rng.random() < 0.5]


def _at_least(array: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    below, right = max(0, side - array.shape[0]), max(0, side - array.shape[1])
    if not below and not right:
        return array
    return np.pad(array, [(0, below), (0, right)] + [(0, 0)] * (array.ndim - 2), mode="reflect")
