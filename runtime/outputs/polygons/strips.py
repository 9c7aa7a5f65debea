"""Polygons of a mask that is never in memory as a whole: traced strip by strip, and joined where strips meet.

Each strip is traced as a mask of its own. What does not touch a seam is done. The ring of a region that does is cut where it runs
along the seam, and its pieces wait. At the seam, pixels of one class that face each other make their regions one, and between others
the seam itself is border. When a region touches no row that is still to come, its pieces are walked from end to end. At a corner
where two pixels of a region touch and no side does, the walk keeps to one of them, and a ring that passes such a corner twice is
two rings.

So the outlines are those of the whole mask. Memory holds a strip, and the outlines of the regions that are not done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.geojson import RegionPolygon, Traced, closed
from dlcv.runtime.outputs.polygons.simplify import TooIntricate, signed_area

_EAST, _SOUTH, _WEST, _NORTH = range(4)
_NONE = -1


@dataclass(frozen=True)
class _Piece:
    """A part of a ring, from one corner on a seam to another: int32 (k, 2); whether its first point stays where it is on a straight
    line; and the key of the piece that follows."""

    points: NDArray[np.int32]
    kept: bool
    following: int


@dataclass
class _Open:
    """A region that is not done."""

    index: int
    pixels: int = 0
    sure: float = 0.0
    metres: float = 0.0
    rings: list[NDArray[np.int32]] = field(default_factory=list)
    pieces: dict[int, _Piece] = field(default_factory=dict)

    def take(self, other: _Open) -> None:
        """What another has becomes its own."""
        self.pixels += other.pixels
        self.sure += other.sure
        self.metres += other.metres
        self.rings += other.rings
        self.pieces.update(other.pieces)


class _Seam:
    """Where two strips meet.

    Args:
        y: the row below it.
        above, below: uint8 (W,), the classes on both sides.
    """

    def __init__(self, y: int, above: NDArray[np.uint8], below: NDArray[np.uint8]) -> None:
        self.y, self.above, self.below = y, above, below
        outside = np.array([_NONE], np.int16)
        upper, lower = (np.concatenate([outside, row.astype(np.int16), outside]) for row in (above, below))
        # around corner x: the pixels before it are x - 1, behind it x; one further in these
        nw, ne, sw, se = upper[:-1], upper[1:], lower[:-1], lower[1:]
        differ = [nw != ne, ne != se, se != sw, sw != nw]
        self.kept = np.sum(differ, 0) >= 3
        self._turns = {
            _EAST: _turned(_EAST, sw, se, ne),
            _SOUTH: _turned(_SOUTH, nw, sw, se),
            _WEST: _turned(_WEST, ne, nw, sw),
            _NORTH: _turned(_NORTH, se, ne, nw),
        }
        self.cuts = np.flatnonzero((nw != ne) | (sw != se))

    def key(self, x: int, direction: int) -> int:
        """Of a piece that leaves corner `x` in a direction."""
        return ((self.y * (len(self.above) + 1)) + x) * 4 + direction

    def following(self, x: int, direction: int) -> int:
        """Key of the piece behind one that comes to corner `x` in a direction."""
        return self.key(x, int(self._turns[direction][x]))


def _turned(
    direction: int, behind: NDArray[np.int16], right: NDArray[np.int16], left: NDArray[np.int16]
) -> NDArray[np.int64]:
    """The direction in which a ring goes on: its pixel on the right behind the corner, and the two ahead."""
    turn = np.where(right == behind, np.where(left == behind, 3, 0), 1)
    return (direction + turn) % 4


class StripPolygons:
    """Takes a mask's strips from top to bottom and gives the polygons that are done.

    Args:
        size_hw: of the mask, in pixels.
        simplify, min_area: see `polygons_of`; on a seam, borders stay where they are.
        nodata: index without polygons; None: all have.

    Attributes:
        not_simplified: a strip was too intricate, and its borders are as they were traced.
    """

    def __init__(
        self, size_hw: tuple[int, int], *, simplify: float = 0.0, min_area: int = 0, nodata: int | None = None
    ) -> None:
        self._height, self._width = size_hw
        self._simplify, self._min_area, self._nodata = simplify, min_area, nodata
        self._open: dict[int, _Open] = {}
        self._parents: dict[int, int] = {}
        self._count = 0
        self._seam: _Seam | None = None
        self._last: NDArray[np.int64] = np.empty(0, np.int64)  # open regions of the last row
        self.not_simplified = False

    def add(
        self,
        top: int,
        mask: NDArray[np.uint8],
        below: NDArray[np.uint8] | None,
        *,
        confidence: NDArray[Any] | None = None,
        row_metres: NDArray[np.float64] | None = None,
    ) -> list[RegionPolygon]:
        """The next strip.

        Args:
            top: its first row.
            mask: uint8 (h, W).
            below: the row behind it, uint8 (W,); None at the mask's end.
            confidence: (h, W), 0..1.
            row_metres: of a pixel in each row, float64 (h,).

        Returns:
            The polygons that are done, in pixels of the whole mask.
        """
        traced = self._traced(mask)
        regions = traced.regions
        seams = self._seam, None if below is None else _Seam(top + len(mask), mask[-1], below)
        sure = None if confidence is None else _sums(regions.labels, len(regions.pixels), confidence)
        metres = None if row_metres is None else _sums(regions.labels, len(regions.pixels), row_metres[:, None])
        names = self._named(traced, seams, sure, metres)
        done = self._trace(traced, top, names, seams, sure, metres)
        if seams[0] is not None:
            self._join(seams[0], names[regions.labels[0]])
        self._seam = seams[1]
        self._last = names[regions.labels[-1]] if below is not None else np.empty(0, np.int64)
        return done + self._finished(sure is not None, metres is not None)

    def _traced(self, mask: NDArray[np.uint8]) -> Traced:
        try:
            return Traced.of(mask, self._simplify)
        except TooIntricate:
            self.not_simplified = True
            return Traced.of(mask, 0.0)

    def _named(
        self, traced: Traced, seams: tuple[_Seam | None, _Seam | None],
        sure: NDArray[np.float64] | None, metres: NDArray[np.float64] | None,
    ) -> NDArray[np.int64]:  # fmt: skip
        """Numbers for the regions that touch a seam; `_NONE` for the others: int64 (n,)."""
        regions = traced.regions
        names = np.full(len(regions.pixels), _NONE, np.int64)
        rows = [regions.labels[row] for row, seam in zip((0, -1), seams, strict=True) if seam is not None]
        touching = np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)
        for region in touching.tolist():
            if regions.classes[region] != self._nodata:
                self._open[self._count] = _Open(
                    int(regions.classes[region]), int(regions.pixels[region]),
                    0.0 if sure is None else float(sure[region]), 0.0 if metres is None else float(metres[region]),
                )  # fmt: skip
                names[region] = self._count
                self._count += 1
        return names

    def _trace(
        self, traced: Traced, top: int, names: NDArray[np.int64], seams: tuple[_Seam | None, _Seam | None],
        sure: NDArray[np.float64] | None, metres: NDArray[np.float64] | None,
    ) -> list[RegionPolygon]:  # fmt: skip
        """Hands the rings of open regions to these; gives the polygons of the others."""
        regions, rings = traced.regions, traced.rings
        wanted = (names == _NONE) & (regions.pixels >= self._min_area)
        if self._nodata is not None:
            wanted &= regions.classes != self._nodata
        shapes: dict[int, list[NDArray[np.int32]]] = {}
        shift = np.array([0, top], np.int32)
        for number, (region, outer) in enumerate(zip(rings.regions.tolist(), rings.outer.tolist(), strict=True)):
            if names[region] != _NONE:
                self._cut(traced.ring(number) + shift, self._open[int(names[region])], seams)
            elif wanted[region]:
                shape = shapes.setdefault(region, [])
                shape.insert(0 if outer else len(shape), closed(traced.ring(number) + shift))
        return [
            RegionPolygon(
                int(regions.classes[region]), pixels := int(regions.pixels[region]),
                None if sure is None else float(sure[region]) / pixels, tuple(shapes[region]),
                None if metres is None else float(metres[region]),
            )
            for region in sorted(shapes)
        ]  # fmt: skip

    def _cut(self, ring: NDArray[np.int32], region: _Open, seams: tuple[_Seam | None, _Seam | None]) -> None:
        """A ring in the mask's coordinates, (k, 2): its pieces between the seams, or itself."""
        y, following = ring[:, 1], np.roll(ring[:, 1], -1)
        along = np.zeros(len(ring), np.bool_)
        for seam in seams:
            if seam is not None:
                along |= (y == seam.y) & (following == seam.y)
        cuts = np.flatnonzero(along)
        if len(cuts) == 0:
            region.rings.append(ring)
            return
        walk = np.concatenate([ring, ring])
        for cut, further in zip(cuts.tolist(), [*cuts[1:].tolist(), int(cuts[0]) + len(ring)], strict=True):
            points = walk[cut + 1 : further + 1]
            (first_x, first_y), (last_x, last_y) = points[0].tolist(), points[-1].tolist()
            upper = seams[0]
            start, leaves = (upper, _SOUTH) if upper is not None and first_y == upper.y else (seams[1], _NORTH)
            end, comes = (upper, _NORTH) if upper is not None and last_y == upper.y else (seams[1], _SOUTH)
            assert start is not None and end is not None, "what is cut begins and ends on a seam"
            piece = _Piece(points, bool(start.kept[first_x]), end.following(last_x, comes))
            region.pieces[start.key(first_x, leaves)] = piece

    def _join(self, seam: _Seam, names: NDArray[np.int64]) -> None:
        """What is above a seam, and what is below: `names` of the first row's regions."""
        above, y = self._last, seam.y
        same = (seam.above == seam.below) & (names != _NONE)
        for pair in np.unique(np.stack([above[same], names[same]], 1), axis=0).tolist():
            self._unite(*pair)
        for begin, end in zip(seam.cuts[:-1].tolist(), seam.cuts[1:].tolist(), strict=True):
            if seam.above[begin] == seam.below[begin]:
                continue
            side = np.array([[begin, y], [end, y]], np.int32)
            if names[begin] != _NONE:
                piece = _Piece(side, bool(seam.kept[begin]), seam.following(end, _EAST))
                self._open[self._root(int(names[begin]))].pieces[seam.key(begin, _EAST)] = piece
            if above[begin] != _NONE:
                piece = _Piece(side[::-1], bool(seam.kept[end]), seam.following(begin, _WEST))
                self._open[self._root(int(above[begin]))].pieces[seam.key(end, _WEST)] = piece

    def _root(self, name: int) -> int:
        while (parent := self._parents.get(name, name)) != name:
            self._parents[name] = self._parents.get(parent, parent)
            name = parent
        return name

    def _unite(self, first: int, second: int) -> None:
        first, second = self._root(first), self._root(second)
        if first == second:
            return
        if len(self._open[first].pieces) < len(self._open[second].pieces):
            first, second = second, first
        self._open[first].take(self._open.pop(second))
        self._parents[second] = first

    def _finished(self, sure: bool, metres: bool) -> list[RegionPolygon]:
        """The regions that touch no row to come."""
        going_on = {self._root(name) for name in np.unique(self._last).tolist() if name != _NONE}
        names = [name for name in self._open if name not in going_on]
        done = []
        for name in names:
            region = self._open.pop(name)
            if region.pixels >= self._min_area:
                rings = [closed(ring) for ring in _outer_first([*region.rings, *_walked(region.pieces, self._width)])]
                done.append(
                    RegionPolygon(
                        region.index, region.pixels, region.sure / region.pixels if sure else None, tuple(rings),
                        region.metres if metres else None,
                    )
                )  # fmt: skip
        if not self._open:
            self._parents.clear()
        return done


def _sums(labels: NDArray[np.int32], count: int, values: NDArray[Any]) -> NDArray[np.float64]:
    """Of each region, over its pixels: float64 (count,)."""
    weights = np.broadcast_to(values, labels.shape).ravel()
    return np.asarray(np.bincount(labels.ravel(), weights=weights, minlength=count), np.float64)


def _walked(pieces: dict[int, _Piece], width: int) -> Iterable[NDArray[np.int32]]:
    """The rings that pieces make, each (k, 2)."""
    left = dict(pieces)
    while left:
        first = next(iter(left))
        key, points, stays = first, [], []
        while True:
            piece = left.pop(key)
            points.append(piece.points[:-1])
            stays.append(np.ones(len(piece.points) - 1, np.bool_))
            stays[-1][0] = piece.kept
            key = piece.following
            if key == first:
                break
        yield from _simple(_without_straight(np.concatenate(points), np.concatenate(stays)), width)


def _without_straight(ring: NDArray[np.int32], stays: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Without the points on a straight line that need not stay: where a seam crossed it."""
    wide = ring.astype(np.int64)
    before, behind = wide - np.roll(wide, 1, 0), np.roll(wide, -1, 0) - wide
    bent = before[:, 0] * behind[:, 1] != before[:, 1] * behind[:, 0]
    return np.asarray(ring[stays | bent], np.int32)


def _simple(ring: NDArray[np.int32], width: int) -> Iterable[NDArray[np.int32]]:
    """The rings in one that passes some corners twice."""
    corners = (ring[:, 1].astype(np.int64) * (width + 1) + ring[:, 0]).tolist()
    if len(set(corners)) == len(corners):
        yield ring
        return
    path: list[int] = []  # numbers of points
    where: dict[int, int] = {}  # the place in the path of each corner
    for number, corner in enumerate(corners):
        if corner in where:
            begin = where[corner]
            yield ring[path[begin:]]
            for gone in path[begin:]:
                del where[corners[gone]]
            del path[begin:]
        where[corner] = len(path)
        path.append(number)
    yield ring[path]


def _outer_first(rings: list[NDArray[np.int32]]) -> list[NDArray[np.int32]]:
    return sorted(rings, key=lambda ring: signed_area(ring) < 0)
