"""Polygons across the antimeridian, cut there as RFC 7946 (section 3.1.9) asks.

A polygon comes with longitudes that go on beyond 180. At the line its rings fall into chains, which begin and end on it. Just beside
the line, chain ends bound by turns what is inside and what is outside, so in the order of their latitudes each two make a pair, and
the line itself is the border between them. Of ends in one point the order is that of the directions in which they leave it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.outputs.polygons.geojson import RegionPolygon
from dlcv.runtime.outputs.polygons.simplify import signed_area

Ring = NDArray[np.float64]
Shape = tuple[Ring, ...]


def cut_at_180(polygon: RegionPolygon, digits: int) -> RegionPolygon:
    """The same polygon with longitudes from -180 to 180: in several parts where it crosses the antimeridian.

    Args:
        polygon: in degrees, outer ring counterclockwise; no side goes round the Earth.
        digits: behind the point, to which coordinates are rounded, so that neighbours are cut in the same points.

    Raises:
        TileError: when its border crosses itself at the line.
    """
    shape: Shape = tuple(np.round(ring, digits).astype(np.float64) for ring in polygon.rings)
    west, east = float(shape[0][:, 0].min()), float(shape[0][:, 0].max())
    first, last = math.floor((west + 180) / 360), math.ceil((east - 180) / 360)
    parts: list[Shape] = []
    rest: list[Shape] = [shape]
    for turn in range(first, last):
        line = 180.0 + 360.0 * turn
        parts += _shifted((piece for one in rest for piece in _side(one, line, -1, digits)), turn, digits)
        rest = [piece for one in rest for piece in _side(one, line, 1, digits)]
    parts += _shifted(rest, max(first, last), digits)
    return replace(polygon, rings=parts[0], more=tuple(parts[1:])) if parts else polygon


def _shifted(shapes: Iterator[Shape] | Sequence[Shape], turn: int, digits: int) -> list[Shape]:
    """A whole number of times round the Earth back."""
    back = np.array([360.0 * turn, 0.0])
    return [tuple(np.round(ring - back, digits) for ring in shape) for shape in shapes]


def _side(shape: Shape, line: float, side: int, digits: int) -> list[Shape]:
    """What of a polygon lies west (`side` -1) or east (1) of a meridian: polygons."""
    rings: list[Ring] = []
    chains: list[Ring] = []
    for ring in shape:
        away = side * (ring[:, 0] - line)
        if away.min() >= 0 and not _along(away):
            rings.append(ring) if np.count_nonzero(away[:-1] == 0) == 0 else chains.extend(_chains(ring, line, side))
        elif away.max() > 0:
            chains += _chains(_with_crossings(ring, line, digits), line, side)
    found = _apart([*rings, *(loop for ring in _joined(chains, line) for loop in _loops(ring))])
    outer = [(ring,) for ring in found if _area(ring) > 0]
    return _with_holes(outer, [ring for ring in found if _area(ring) < 0])


def _along(away: NDArray[np.float64]) -> bool:
    return bool(((away[:-1] == 0) & (away[1:] == 0)).any())


def _with_crossings(ring: Ring, line: float, digits: int) -> Ring:
    """The closed ring with a point wherever a side crosses the meridian; the same point from whichever end the side is walked."""
    begins, ends = ring[:-1], ring[1:]
    across = np.flatnonzero((begins[:, 0] - line) * (ends[:, 0] - line) < 0)
    west = np.where((begins[across, 0] < ends[across, 0])[:, None], begins[across], ends[across])
    east = np.where((begins[across, 0] < ends[across, 0])[:, None], ends[across], begins[across])
    share = (line - west[:, 0]) / (east[:, 0] - west[:, 0])
    latitude = np.round(west[:, 1] + share * (east[:, 1] - west[:, 1]), digits)
    return np.insert(ring, across + 1, np.stack([np.full(len(across), line), latitude], 1), axis=0)


def _chains(ring: Ring, line: float, side: int) -> list[Ring]:
    """The parts of a closed ring between its points on the meridian that lie on one side."""
    points = ring[:-1]
    on_line = np.flatnonzero(points[:, 0] == line)
    walk = np.concatenate([points, points])
    ends = [*on_line[1:].tolist(), int(on_line[0]) + len(points)]
    return [
        walk[begin : end + 1]
        for begin, end in zip(on_line.tolist(), ends, strict=True)
        if end - begin > 1 and side * (walk[begin + 1, 0] - line) > 0
    ]


def _joined(chains: Sequence[Ring], line: float) -> list[Ring]:
    """Chains as closed rings, of which the parts between them go along the meridian."""
    ends: list[tuple[float, float, int, bool]] = []
    for number, chain in enumerate(chains):
        for point, further, begins in ((chain[0], chain[1], True), (chain[-1], chain[-2], False)):
            leaves = float((further[1] - point[1]) / abs(further[0] - line))
            ends.append((float(point[1]), leaves, number, begins))
    ends.sort()
    following: dict[int, int] = {}
    for (_, _, first, first_begins), (_, _, second, second_begins) in zip(ends[::2], ends[1::2], strict=True):
        if first_begins == second_begins:
            raise TileError("the border of one of its regions crosses itself at 180 degrees; run it without --polygons")
        following.update({second: first} if first_begins else {first: second})
    found = []
    while following:
        number, turn = following.popitem()
        walk = [chains[number]]
        while turn != number:
            walk.append(chains[turn])
            turn = following.pop(turn)
        ring = np.concatenate([*walk, chains[number][:1]])
        stays = np.ones(len(ring), np.bool_)
        stays[1:] = (ring[1:] != ring[:-1]).any(1)
        found.append(ring[stays])
    return found


def _apart(rings: list[Ring]) -> list[Ring]:
    """The borders of the same, where rings that touch in points divide what is inside: a hole that touches its outer ring twice.

    What is inside lies left of each side. Whoever walks along a border and comes to a point of several rings goes on by the side that
    bounds the same inside: the first one clockwise from where they came.
    """
    points = np.concatenate([ring[:-1] for ring in rings]) if rings else np.empty((0, 2))
    _, same, counts = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    same = same.reshape(-1)  # numpy 2.0 gave it another shape
    shared = np.flatnonzero(counts[same] > 1)
    if not len(shared):
        return rings
    following = np.arange(1, len(points) + 1)
    ends = np.cumsum([len(ring) - 1 for ring in rings])
    following[ends - 1] = np.concatenate([[0], ends[:-1]])
    before = np.empty_like(following)
    before[following] = np.arange(len(points))
    ahead, behind = (_directions(points, shared, which[shared]) for which in (following, before))
    meeting: dict[int, list[int]] = {}
    for k, place in enumerate(same[shared].tolist()):
        meeting.setdefault(place, []).append(k)
    onward = following.copy()
    for group in meeting.values():
        for k in group:
            clockwise = [(behind[k] - ahead[other]) % (2 * math.pi) or 2 * math.pi for other in group]
            onward[before[shared[k]]] = shared[group[int(np.argmin(clockwise))]]
    if len(np.unique(onward)) < len(onward):  # sides that lie on one another
        return rings
    found: list[Ring] = []
    waits = np.ones(len(points), np.bool_)
    for start in range(len(points)):
        walk, at = [], start
        while waits[at]:
            waits[at] = False
            walk.append(at)
            at = int(onward[at])
        if walk:
            found += _loops(points[[*walk, walk[0]]])
    return found


def _directions(points: Ring, places: NDArray[np.int64], towards: NDArray[np.int64]) -> NDArray[np.float64]:
    """In radians."""
    apart = points[towards] - points[places]
    return np.arctan2(apart[:, 1], apart[:, 0])


def _loops(ring: Ring) -> Iterator[Ring]:
    """A closed ring that passes some points twice, as rings that do not."""
    path: list[tuple[float, float]] = []
    where: dict[tuple[float, float], int] = {}
    for x, y in ring[:-1].tolist():
        if (x, y) in where:
            begin = where[x, y]
            if len(path) - begin > 2:
                yield np.array([*path[begin:], (x, y)])
            for gone in path[begin:]:
                del where[gone]
            del path[begin:]
        where[x, y] = len(path)
        path.append((x, y))
    if len(path) > 2:
        yield np.array([*path, path[0]])


def _with_holes(outer: list[tuple[Ring]], holes: Sequence[Ring]) -> list[Shape]:
    """Each hole to the outer ring around it."""
    shapes: list[list[Ring]] = [list(one) for one in outer]
    boxes = [(ring.min(0), ring.max(0)) for (ring,) in outer]
    for hole in holes:
        low, high = hole.min(0), hole.max(0)
        around = [k for k, (least, most) in enumerate(boxes) if (least <= low).all() and (high <= most).all()]
        middle = (hole[0] + hole[1]) / 2  # a hole may touch the ring around it in a corner, and in no side
        if len(around) > 1:
            around = [k for k in around if _holds(outer[k][0], middle)]
        if around:
            shapes[around[0]].append(hole)
    return [tuple(shape) for shape in shapes]


def _holds(ring: Ring, point: NDArray[Any]) -> bool:
    """Whether a closed ring goes round a point: how often a ray from it to the east meets the ring."""
    a, b = ring[:-1], ring[1:]
    spans = (a[:, 1] > point[1]) != (b[:, 1] > point[1])
    a, b = a[spans], b[spans]
    meets = a[:, 0] + (point[1] - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0]) > point[0]
    return bool(np.count_nonzero(meets) % 2)


def _area(ring: Ring) -> float:
    return float(signed_area(ring[:-1] - ring[0]))  # from its own corner, for the digits
