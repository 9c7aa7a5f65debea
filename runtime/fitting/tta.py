"""Averaging over flips and rotations of an image (`--tta`): what is asked of the model, and its answers turned back.

The eight ways to lay a square on itself (the dihedral group D4): turned by 0, 90, 180 and 270 degrees, and each of these
flipped. Four of them, the flips, also keep a window that is not square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import UsageError

TTAS = {"none": (0,), "flips": (0, 2, 4, 6), "full": (0, 1, 2, 3, 4, 5, 6, 7)}
"""For each `--tta`: quarter turns, and 4 more where the turned image is also flipped left to right."""


def check_tta(tta: str, size_hw: tuple[int, int]) -> None:
    """Refuses an unknown name, and quarter turns of windows that are not square.

    Raises:
        UsageError: tells what to pass instead.
    """
    if tta not in TTAS:
        raise UsageError(f"unknown tta {tta!r}; it is one of {', '.join(TTAS)}")
    if tta == "full" and size_hw[0] != size_hw[1]:
        raise UsageError(
            f"--tta full turns by 90 degrees, the engine takes {size_hw[0]} x {size_hw[1]}; pass --tta flips"
        )


def turned(image: NDArray[Any], way: int) -> NDArray[Any]:
    """A view of an image (H, W, ...): `way` % 4 quarter turns against the clock, then flipped where `way` is 4 or more."""
    quarter = np.rot90(image, way % 4)
    return quarter[:, ::-1] if way >= 4 else quarter


def turned_back(answer: NDArray[Any], way: int) -> NDArray[Any]:
    """What `turned` did, undone on (..., H, W)."""
    flipped = answer[..., ::-1] if way >= 4 else answer
    return np.rot90(flipped, -(way % 4), axes=(-2, -1))


def averaged(answers: Sequence[NDArray[Any]], ways: Sequence[int]) -> NDArray[np.float32]:
    """The mean of probabilities about one image, asked in several ways.

    Args:
        answers: float32 (C, H, W) each, one for each of `ways`; or (C,), which no turn changes.
        ways: see `TTAS`.

    Returns:
        float32, of the shape of one answer.
    """
    total = np.array(answers[0] if answers[0].ndim < 3 else turned_back(answers[0], ways[0]), np.float32)
    for answer, way in zip(answers[1:], ways[1:], strict=True):
        total += answer if answer.ndim < 3 else turned_back(answer, way)
    total *= np.float32(1 / len(ways))
    return total
