"""Whether images to calibrate on look like those that a model is verified on: of another size, or noise, they set wrong ranges.

The gate finds what such ranges lose, if the labelled images show it; this says why, and before minutes of calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import DatasetError

SMALLER = 0.5
"""Of the shorter side: below this share an image is not one of the same kind."""
NOISE = 0.3
"""Correlation of neighbouring pixels: 0 of noise, 0.7 to 0.99 of photographs."""
FEW = 8
"""With fewer images a range shows little of what others hold."""
LOOKED_AT = 8
"""Of the images that are verified on."""


@dataclass(frozen=True)
class Looks:
    """Of an image: its name, its sides in pixels, and the correlation of pixels side by side, -1..1 (1 where all are alike)."""

    name: str
    size_hw: tuple[int, int]
    correlation: float


def looks_of(name: str, image_rgb: NDArray[np.uint8]) -> Looks:
    """What an image, uint8 (h, w, 3), RGB, looks like."""
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY).astype(np.float64)
    left, right = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    spread = left.std() * right.std() if left.size else 0.0
    together = float(np.mean((left - left.mean()) * (right - right.mean())) / spread) if spread > 0 else 1.0
    return Looks(name, (image_rgb.shape[0], image_rgb.shape[1]), together)


def doubts(images: Sequence[Looks], verified: Sequence[Looks], input_size_hw: tuple[int, int], noun: str) -> list[str]:
    """What speaks against calibrating on images, in words; empty when nothing does.

    Args:
        images: to calibrate on.
        verified: some of those that are verified on.
        input_size_hw: of the graph, in pixels.
        noun: what an image is called.

    Raises:
        DatasetError: when most are far smaller than the graph's input and than those that are verified on.
    """
    found = []
    least = SMALLER * min(*input_size_hw, median(min(one.size_hw) for one in verified))
    if small := [one for one in images if min(one.size_hw) < least]:
        text = (
            f"{len(small)} of {len(images)} {noun}s are far smaller than those that are verified on and than the {input_size_hw[1]} x {input_size_hw[0]} px "
            f"of the graph ({small[0].name}: {small[0].size_hw[1]} x {small[0].size_hw[0]} px)"
        )
        if 2 * len(small) > len(images):
            raise DatasetError(f"--calibration-data: {text}; name a folder with {noun}s of training")
        found.append(f"{text}: better leave them out")
    here, there = (median(one.correlation for one in side) for side in (images, verified))
    if here < NOISE <= there:
        found.append(
            f"they look like noise, neighbouring pixels correlate by {here:.2f} and by {there:.2f} where verified: better name {noun}s of training"
        )
    if len(images) < FEW:
        found.append(f"so few may not show what others hold: better give {FEW} or more")
    return found
