"""What a caller of a `Model` gives: one image, a stack, or a list of images, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import UsageError

Image = NDArray[np.uint8]


def is_one(images: object) -> bool:
    """Whether it is one image and not a stack or a list."""
    return isinstance(images, np.ndarray) and images.ndim == 3


def listed(images: Image | Sequence[Image]) -> list[Image]:
    """One image, a stack or a list as a list of images.

    Raises:
        UsageError: when an image is not uint8 (H, W, 3).
    """
    if not isinstance(images, (np.ndarray, Sequence)):
        raise UsageError(f"expected an image, a stack or a list of images, got {type(images).__name__}")
    if isinstance(images, np.ndarray) and images.ndim != 4:
        return [checked(images)]
    return [checked(image) for image in images]


def checked(image: Any) -> Image:
    """The image, uint8 (H, W, 3), RGB.

    Raises:
        UsageError: when it is something else.
    """
    if not isinstance(image, np.ndarray):
        raise UsageError(f"expected images as uint8 (H, W, 3), RGB, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(f"expected images as uint8 (H, W, 3), RGB, got {image.dtype} {image.shape}")
    return image
