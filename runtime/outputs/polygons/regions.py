"""The regions of a mask and their outlines, along the edges of the pixels and not through their middles.

A region is all pixels of one class that hang together by their sides (4-connected). Its outline runs on the lattice of pixel
corners, and each of its rings is simple: where two pixels of one region meet in a corner only, the ring passes between the
two others there, so that a hole touches the outline in that corner and no ring touches itself. That is what GeoJSON (RFC
7946) and the OGC's simple features call a valid polygon. `cv2.findContours` follows the middles of pixels, which makes every
region half a pixel too small on each side.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_EAST, _SOUTH, _WEST, _NORTH = range(4)
_STEP_X, _STEP_Y = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])
_OUTSIDE = -1


@dataclass(frozen=True)
class Regions:
    """The regions of a mask.

    Attributes:
        labels: int32 (h, w), the number of each pixel's region, 0, 1, ...
        classes: uint8 (n,), the class index of each region.
        pixels: int64 (n,), how many each has.
    """

    labels: NDArray[np.int32]
    classes: NDArray[np.uint8]
    pixels: NDArray[np.int64]


@dataclass(frozen=True)
class Rings:
    """The outlines of all regions. Rings lie one behind the other in `x` and `y`.

    Attributes:
        x, y: int32 (m,), pixel corners: 0 is the left or upper edge of the image. Each point is one at which a ring turns,
            or at which three or more borders meet; a ring does not repeat its first point.
        node: bool (m,), whether three or more borders meet there, or it is a corner of the image.
        starts: int64 (r + 1,), where each ring begins; the last is m.
        regions: int64 (r,), of which region each is an outline.
        outer: bool (r,), whether a ring goes round its region; else it is a hole's. With y downwards an outer ring goes
            clockwise to the eye, and its area by the shoelace formula is above 0; a hole's goes the other way.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    node: NDArray[np.bool_]
    starts: NDArray[np.int64]
    regions: NDArray[np.int64]
    outer: NDArray[np.bool_]

    def ring(self, number: int) -> NDArray[np.int32]:
        """A ring's points: int32 (k, 2)."""
        part = slice(self.starts[number], self.starts[number + 1])
        return np.stack([self.x[part], self.y[part]], 1)


def regions_of(mask: NDArray[np.uint8]) -> Regions:
    """The regions of a mask, uint8 (h, w): by class, and of one class by their first pixel."""
    labels = np.zeros(mask.shape, np.int32)
    classes: list[int] = []
    for index in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist():
        alike = (mask == index).view(np.uint8)
        x, y, width, height = cv2.boundingRect(alike)
        box = np.s_[y : y + height, x : x + width]
        count, numbers = cv2.connectedComponents(alike[box], connectivity=4, ltype=cv2.CV_32S)
        np.add(labels[box], numbers + (len(classes) - 1), out=labels[box], where=alike[box] > 0)
        classes += [index] * (count - 1)
    pixels = np.bincount(labels.ravel(), minlength=len(classes))
    return Regions(labels, np.array(classes, np.uint8), pixels)


def rings_of(labels: NDArray[np.int32]) -> Rings:
    """The outlines of the regions in `labels`, int32 (h, w), 4-connected each."""
    height, width = labels.shape
    around = np.full((height + 2, width + 2), _OUTSIDE, np.int32)
    around[1:-1, 1:-1] = labels
    corner, direction = _directed_edges(around)
    step = np.array([1, width + 1, -1, -(width + 1)])
    end = corner + step[direction]
    region = _ahead(around, corner, direction, right=True)
    ahead_left, ahead_right = (_ahead(around, end, direction, right=right) for right in (False, True))
    # Left, straight on, or right. Left also where the pixel ahead on the left is of the region and the one on the right is not:
    # they meet in this corner only, and the ring passes between the two others.
    turn = np.where(ahead_left == region, 3, np.where(ahead_right == region, 0, 1))
    edge_at = np.full(4 * (height + 1) * (width + 1), -1, np.int64)
    edge_at[4 * corner + direction] = np.arange(len(corner))
    following = edge_at[4 * end + (direction + turn) % 4]

    meets = (
        np.bincount(corner, minlength=(height + 1) * (width + 1)) >= 3
    )  # of an inner corner: as many edges leave as meet
    meets |= _on_border(around)
    kept = (turn != 0) | meets[end]
    return _collect(following, kept, end, meets, region, width + 1)


def _directed_edges(around: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each unit of border once for the region on its right: the corner where it begins, and its direction."""
    wide = around.shape[1] - 1  # corners in a row
    upright = around[1:-1, :-1] != around[1:-1, 1:]  # (h, w + 1): between the pixels left and right of it
    level = around[:-1, 1:-1] != around[1:, 1:-1]  # (h + 1, w): between the pixels above and below it
    y, x = np.nonzero(level)
    above, below = around[y, x + 1], around[y + 1, x + 1]
    at = y * wide + x
    east, west = at[below != _OUTSIDE], at[above != _OUTSIDE] + 1
    y, x = np.nonzero(upright)
    left, right = around[y + 1, x], around[y + 1, x + 1]
    at = y * wide + x
    south, north = at[left != _OUTSIDE], at[right != _OUTSIDE] + wide
    parts = (east, south, west, north)
    return np.concatenate(parts), np.repeat(np.arange(4), [len(part) for part in parts])


def _ahead(
    around: NDArray[np.int32], corner: NDArray[np.int64], direction: NDArray[np.int64], *, right: bool
) -> NDArray[np.int32]:
    """The region ahead of a corner, on the right or on the left of a direction."""
    wide = around.shape[1] - 1
    y, x = np.divmod(corner, wide)
    # ahead to the right of east lies the pixel below and right of the corner; of south, below and left; and so on round
    right_dy, right_dx = np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1])
    which = direction if right else (direction + 3) % 4
    ahead: NDArray[np.int32] = around[y + right_dy[which], x + right_dx[which]]
    return ahead


def _on_border(around: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Where a border inside the image meets its edge, and the image's own corners."""
    high, wide = around.shape[0] - 1, around.shape[1] - 1
    found = np.zeros((high, wide), np.bool_)
    found[0, 1:-1] = around[1, 1:-2] != around[1, 2:-1]
    found[-1, 1:-1] = around[-2, 1:-2] != around[-2, 2:-1]
    found[1:-1, 0] = around[1:-2, 1] != around[2:-1, 1]
    found[1:-1, -1] = around[1:-2, -2] != around[2:-1, -2]
    found[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return found.ravel()


def _collect(
    following: NDArray[np.int64], kept: NDArray[np.bool_], end: NDArray[np.int64], meets: NDArray[np.bool_],
    region: NDArray[np.int32], wide: int,
) -> Rings:  # fmt: skip
    """Walks each ring once and keeps the ends of edges at which something happens."""
    after, worth = following.tolist(), kept.tolist()
    seen = bytearray(len(after))
    order: list[int] = []
    starts = [0]
    firsts: list[int] = []
    for first in range(len(after)):
        if seen[first]:
            continue
        at = first
        while not seen[at]:
            seen[at] = 1
            if worth[at]:
                order.append(at)
            at = after[at]
        starts.append(len(order))
        firsts.append(first)
    y, x = np.divmod(end[order], wide)
    x, y, bounds = x.astype(np.int32), y.astype(np.int32), np.array(starts, np.int64)
    areas = ring_areas(x, y, bounds)
    return Rings(x, y, meets[end[order]], bounds, region[firsts].astype(np.int64), areas > 0)


def ring_areas(x: NDArray[np.int32], y: NDArray[np.int32], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The signed area of each ring by the shoelace formula, in square pixels; see `Rings` for the arguments."""
    following = np.arange(1, len(x) + 1)
    following[starts[1:] - 1] = starts[:-1]
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    return np.add.reduceat(wide_x * wide_y[following] - wide_x[following] * wide_y, starts[:-1]) / 2
