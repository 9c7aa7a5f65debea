"""Fewer points in the borders between regions, by Douglas and Peucker (1973), without gaps, overlaps or knots.

A border is simplified once and both of its regions take the result, so neighbours fit as before. Where that would make borders
cross, turn a ring inside out or leave a hole outside of its region, the borders there are simplified at half the
tolerance, and after that left as they are: those that are left cannot cross, so this ends.

It ends, but a mask that is all noise has a hundred thousand regions, one of them with thousands of holes, and looking again and
again after each of them would take hours. So the work is counted, and above a bound the mask is refused.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.outputs.polygons.arcs import Arcs
from dlcv.runtime.outputs.polygons.crossings import crossing_pairs
from dlcv.runtime.outputs.polygons.regions import Rings

Points = list[NDArray[np.int32]]
_FINER = (1.0, 0.5, 0.0)
"""Of the tolerance, one after the other, for a border that cannot be simplified as asked."""
MOST_WORK = 300_000_000
"""Segments looked at, each as often as it is. It is up to ten seconds of a core, and 250 times what a trained model's tile of
512 x 512 took."""
_STEP, _AROUND = 500, 50
"""What a walk, a ring or a box that Python handles comes to, and looking for what a segment crosses."""


class TooIntricate(TileError):
    """The borders of a mask are too many and too jagged to be simplified."""


class Work:
    """Counts what simplification does, which no clock tells alike on two machines.

    Args:
        most: what it may come to; None: `MOST_WORK`.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most, self.done = MOST_WORK if most is None else most, 0

    def spend(self, amount: int) -> None:
        """Counts what is about to be done.

        Raises:
            TooIntricate: when that would be too much.
        """
        self.done += amount
        if self.done > self.most:
            raise TooIntricate(
                "the borders are too many and too jagged to be simplified; leave out --simplify, or look at the mask: it is mostly noise"
            )


def simplified(arcs: Arcs, rings: Rings, tolerance: float, work: Work | None = None) -> Points:
    """The points of each arc after simplification; ends stay.

    Args:
        arcs: of `rings`.
        rings: the outlines themselves.
        tolerance: how far a border may move, in pixels, above 0.
        work: counts what is done, and bounds it.

    Raises:
        TooIntricate: when it would take too much.
    """
    work = work or Work()
    work.spend(_STEP * len(arcs.points))
    level = np.zeros(len(arcs.points), np.int64)
    points = [_douglas_peucker(walk, tolerance) for walk in arcs.points]
    while len(wrong := _wrong(arcs, rings, points, tolerance, work)):
        work.spend(_STEP * len(wrong))
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


def _wrong(arcs: Arcs, rings: Rings, points: Points, tolerance: float, work: Work) -> NDArray[np.int64]:
    """The arcs that may not stay as they are; arcs that are as they were traced may be among them."""
    lengths = np.array([len(walk) - 1 for walk in points])
    work.spend(_AROUND * int(lengths.sum()))
    begins = np.concatenate([walk[:-1] for walk in points])
    ends = np.concatenate([walk[1:] for walk in points])
    of_arc = np.repeat(np.arange(len(points)), lengths)
    first, second = crossing_pairs(begins, ends)
    crossed = np.unique(np.concatenate([of_arc[first], of_arc[second]]))
    if len(crossed):
        return crossed
    work.spend(_STEP * len(rings.outer))
    return np.array(sorted(_turned(arcs, rings, points) | _strayed(arcs, rings, points, tolerance, work)), np.int64)


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


def _strayed(arcs: Arcs, rings: Rings, points: Points, tolerance: float, work: Work) -> set[int]:
    """The arcs near a hole that does not lie inside its region's outline, or lies inside another hole."""
    found: set[int] = set()
    with_holes = np.unique(rings.regions[~rings.outer])
    order = np.argsort(rings.regions, kind="stable")
    bounds = np.searchsorted(rings.regions[order], [with_holes, with_holes + 1])
    for begin, end in bounds.T.tolist():
        numbers = order[begin:end].tolist()
        shapes = [arcs.ring(number, points) for number in numbers]
        holes = [not rings.outer[number] for number in numbers]
        work.spend(_STEP * len(numbers) + sum(holes) * sum(map(len, shapes)))
        for which in _outside(shapes, holes):
            found.update(arc for arc, _ in arcs.rings[numbers[which]])
            work.spend(_STEP * sum(len(arcs.rings[number]) for number in numbers))
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
