"""Square patches of one land-cover class each, cut from generated scenes: labelled images for classification."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlcv.train.data.noise import generator
from dlcv.train.data.scenes import make_scene

CLASS_NAMES = ("urban", "agriculture", "rangeland", "forest", "water", "barren")
"""Names of class indices 0 to 5; a patch that is mostly unknown is not taken."""

LEAST_SHARE = 0.6
"""Part of a patch's pixels that its class covers at least."""

MAX_SIZE = 128
"""Pixels. Larger ones hardly ever show one class: textures and parcels keep their size, and scenes are mixed."""

_SCENE_SIDES = 4  # a scene is this many patches high and wide
_PER_SCENE = 3  # patches of a class from one scene, which share its light and season
_STEPS = 4  # a patch may begin at each quarter of its size
_CUT = 4  # part of a scene that is drawn here; make_scene has 0 to 3


@dataclass(frozen=True)
class Patch:
    """One labelled image.

    Attributes:
        label: class index, 0 to 5.
        number: of the patch in its class and split, from 0.
        image_rgb: (size, size, 3) uint8 RGB.
    """

    label: int
    number: int
    image_rgb: NDArray[np.uint8]


def make_patches(seed: int, per_class: int, size: int, *, split: str = "train") -> Iterator[Patch]:
    """Cuts `per_class` patches of each of the six classes; scenes are drawn until there are enough.

    Patch k of a class is the k-th that the scenes show of it, whatever `per_class` is.

    Args:
        seed: of the whole set, 0 or more.
        per_class: 0 or more.
        size: height and width of a patch in pixels, 16 to `MAX_SIZE`.
        split: "train" or "validation"; their scenes are different.

    Raises:
        ValueError: as `make_scene`, or `size` is out of range.
    """
    if not 16 <= size <= MAX_SIZE:
        raise ValueError(f"no patches of size {size}: see make_patches")
    found = [0] * len(CLASS_NAMES)
    for index in itertools.count():
        if min(found) >= per_class:
            return
        image, label = make_scene(seed, index, _SCENE_SIDES * size, split=split)
        rng = generator(seed, ("train", "validation").index(split), index, _CUT)
        for name, top, left in _places(rng, label, size):
            if found[name] < per_class:
                yield Patch(name, found[name], image[top : top + size, left : left + size])
            found[name] += 1


def _places(rng: np.random.Generator, label: NDArray[np.uint8], size: int) -> Iterator[tuple[int, int, int]]:
    """The class, top and left edge of patches that do not overlap, in random order."""
    starts = np.arange(_STEPS * (_SCENE_SIDES - 1) + 1) * size // _STEPS
    counts = _class_counts(label, size, starts)  # (7, n, n)
    commonest = counts.argmax(axis=0)
    free = (commonest < len(CLASS_NAMES)) & (counts.max(axis=0) >= LEAST_SHARE * size * size)
    taken = [0] * len(CLASS_NAMES)
    for place in rng.permutation(free.size):
        row, column = divmod(int(place), len(starts))
        if not free[row, column]:
            continue
        name = int(commonest[row, column])
        free[max(row - _STEPS + 1, 0) : row + _STEPS, max(column - _STEPS + 1, 0) : column + _STEPS] = False
        yield name, int(starts[row]), int(starts[column])
        taken[name] += 1
        if taken[name] == _PER_SCENE:
            free &= commonest != name


def _class_counts(label: NDArray[np.uint8], size: int, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels of each class in the patch at each pair of starts: (7, n, n), from sums over all that is above and left."""
    classes = len(CLASS_NAMES) + 1
    sums = np.zeros((classes, label.shape[0] + 1, label.shape[1] + 1), np.int64)
    sums[:, 1:, 1:] = (label == np.arange(classes)[:, None, None]).cumsum(axis=1).cumsum(axis=2)
    below = sums[:, starts + size] - sums[:, starts]
    counts: NDArray[np.int64] = below[:, :, starts + size] - below[:, :, starts]
    return counts
