"""Random crops and flips, of an image and its label alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_crop_and_flips(
    image_rgb: NDArray[np.uint8], label: NDArray[np.uint8], crop: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A random square and its random horizontal and vertical flip.

    Args:
        image_rgb: uint8 (H, W, 3).
        label: uint8 (H, W), class indices.
        crop: side of the square, in pixels; a smaller tile is first padded by reflection.
        rng: decides; the same state gives the same crop.

    Returns:
        image uint8 (crop, crop, 3) and label uint8 (crop, crop), both contiguous.
    """
    image_rgb, label = _at_least(image_rgb, crop), _at_least(label, crop)
    height, width = label.shape
    y, x = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
    image_rgb, label = image_rgb[y : y + crop, x : x + crop], label[y : y + crop, x : x + crop]
    for axis in (0, 1):
        if rng.random() < 0.5:
            image_rgb, label = np.flip(image_rgb, axis), np.flip(label, axis)
    return np.ascontiguousarray(image_rgb), np.ascontiguousarray(label)


def _at_least(array: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    below, right = max(0, side - array.shape[0]), max(0, side - array.shape[1])
    if not below and not right:
        return array
    return np.pad(array, [(0, below), (0, right)] + [(0, 0)] * (array.ndim - 2), mode="reflect")
