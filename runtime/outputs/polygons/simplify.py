"""Fewer points in the borders between regions, by Douglas and Peucker (1973), without gaps, overlaps or knots.

A border is simplified once and both of its regions take the result, so neighbours fit as before. Where that would make borders
cross, turn a ring inside out or leave a hole outside of its region, the borders there are simplified at half the
tolerance, and after that left as they are: those that are left cannot cross, so this ends.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.arcs import Arcs
from dlcv.runtime.outputs.polygons.crossings import crossing_pairs
from dlcv.runtime.outputs.polygons.regions import Rings

Points = list[NDArray[np.int32]]
_FINER = (1.0, 0.5, 0.0)
"""Of the tolerance, one after the other, for a border that cannot be simplified as asked."""


def simplified(arcs: Arcs, rings: Rings, tolerance: float) -> Points:
    """The points of each arc after simplification; ends stay.

    Args:
        arcs: of `rings`.
        rings: the outlines themselves.
        tolerance: how far a border may move, in pixels, above 0.
    """
    level = np.zeros(len(arcs.points), np.int64)
    points = [_douglas_peucker(walk, tolerance) for walk in arcs.points]
    while len(wrong := _wrong(arcs, rings, points, tolerance)):
        wrong = wrong[level[wrong] < len(_FINER) - 1]
        assert len(wrong), "borders as they were traced do not cross"
        level[wrong] += 1
        for arc in wrong.tolist():
            points[arc] = _douglas_peucker(arcs.points[arc], tolerance * _FINER[level[arc]])
    return points


def _douglas_peucker(walk: NDArray[np.int32], tolerance: float) -> NDArray[np.int32]:
    """int32 (k, 2) -> int32 (m, 2) with the same ends; a closed walk keeps its farthest point too."""
    if tolerance == 0 or len(walk) < 3:
        return walk
    if (walk[0] != walk[-1]).any():
        return _open(walk, tolerance)
    farthest = int(np.argmax(((walk - walk[0]) ** 2).sum(1)))
    halves = _open(walk[: farthest + 1], tolerance), _open(walk[farthest:], tolerance)
    whole = np.concatenate([halves[0], halves[1][1:]])
    return whole if len(whole) > 3 else walk  # two points and back: nothing would be left of it


def _open(walk: NDArray[np.int32], tolerance: float) -> NDArray[np.int32]:
    if len(walk) < 3:
        return walk
    return np.asarray(cv2.approxPolyDP(np.ascontiguousarray(walk)[:, None], tolerance, closed=False), np.int32)[:, 0]


def _wrong(arcs: Arcs, rings: Rings, points: Points, tolerance: float) -> NDArray[np.int64]:
    """The arcs that may not stay as they are; arcs that are as they were traced may be among them."""
    lengths = np.array([len(walk) - 1 for walk in points])
    begins = np.concatenate([walk[:-1] for walk in points])
    ends = np.concatenate([walk[1:] for walk in points])
    of_arc = np.repeat(np.arange(len(points)), lengths)
    first, second = crossing_pairs(begins, ends)
    crossed = np.unique(np.concatenate([of_arc[first], of_arc[second]]))
    if len(crossed):
        return crossed
    return np.array(sorted(_turned(arcs, rings, points) | _strayed(arcs, rings, points, tolerance)), np.int64)


def _turned(arcs: Arcs, rings: Rings, points: Points) -> set[int]:
    """The arcs of rings that go the other way round than before, or enclose nothing."""
    found: set[int] = set()
    for number, outer in enumerate(rings.outer.tolist()):
        area = signed_area(arcs.ring(number, points))
        if area == 0 or (area > 0) != outer:
            found.update(arc for arc, _ in arcs.rings[number])
    return found


def signed_area(ring: NDArray[np.int32]) -> float:
    """Of a ring, (k, 2), by the shoelace formula."""
    x, y = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
    return float(x[:-1] @ y[1:] - y[:-1] @ x[1:] + x[-1] * y[0] - y[-1] * x[0]) / 2


def _strayed(arcs: Arcs, rings: Rings, points: Points, tolerance: float) -> set[int]:
    """The arcs near a hole that does not lie inside its region's outline, or lies inside another hole."""
    found: set[int] = set()
    for region in np.unique(rings.regions[~rings.outer]).tolist():
        numbers = np.flatnonzero(rings.regions == region).tolist()
        shapes = [arcs.ring(number, points) for number in numbers]
        for which in _outside(shapes, [not rings.outer[number] for number in numbers]):
            found.update(arc for arc, _ in arcs.rings[numbers[which]])
            found.update(_near(arcs, numbers, shapes[which], tolerance))
    return found


def _outside(shapes: list[NDArray[np.int32]], hole: list[bool]) -> list[int]:
    """The holes of a region round which an even number of its other rings goes, where one would be right."""
    begins = np.concatenate(shapes).astype(np.float64)
    ends = np.concatenate([np.concatenate([shape[1:], shape[:1]]) for shape in shapes]).astype(np.float64)
    starts = np.cumsum([0, *map(len, shapes)]).tolist()
    found = []
    for which in np.flatnonzero(hole).tolist():
        own = slice(starts[which], starts[which + 1])
        place = (begins[own.start] + ends[own.start]) / 2  # of a side: corners may lie on another ring
        (x, y), (next_x, next_y) = (begins - place).T, (ends - place).T
        over = (y > 0) != (next_y > 0)
        to_the_right = over & ((x * next_y - next_x * y > 0) == (next_y > y))
        to_the_right[own] = False
        if np.count_nonzero(to_the_right) % 2 == 0:
            found.append(which)
    return found


def _near(arcs: Arcs, numbers: list[int], shape: NDArray[np.int32], tolerance: float) -> set[int]:
    """The arcs of some rings whose box, as traced, comes within the tolerance of a shape's."""
    low, high = shape.min(0) - 2 * tolerance, shape.max(0) + 2 * tolerance
    every = {arc for number in numbers for arc, _ in arcs.rings[number]}
    return {arc for arc in every if (arcs.points[arc].min(0) <= high).all() and (arcs.points[arc].max(0) >= low).all()}
