"""Polygons of a mask that is never in memory as a whole: traced strip by strip, and joined where strips meet.

Each strip is traced as a mask of its own. What does not touch a seam is done. The ring of a region that does is cut where it runs
along the seam, and its pieces wait. At the seam, pixels of one class that face each other make their regions one, and between others
the seam itself is border. Pieces that meet at a seam become one (`chains.py`), and those that close are rings. At a corner
where two pixels of a region touch and no side does, a ring keeps to one of them, and one that passes such a corner twice is
two rings.

So the outlines are those of the whole mask. Memory holds a strip, and the outlines of the regions that are not done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.chains import Chain, linked
from dlcv.runtime.outputs.polygons.geojson import RegionPolygon, Traced, closed
from dlcv.runtime.outputs.polygons.seams import EAST, NONE, NORTH, SOUTH, WEST, Seam
from dlcv.runtime.outputs.polygons.simplify import TooIntricate, signed_area


@dataclass
class _Open:
    """A region that is not done."""

    index: int
    pixels: int = 0
    sure: float = 0.0
    metres: float = 0.0
    rings: list[NDArray[np.int32]] = field(default_factory=list)
    pieces: dict[int, Chain] = field(default_factory=dict)

    def take(self, other: _Open) -> None:
        """What another has becomes its own."""
        self.pixels += other.pixels
        self.sure += other.sure
        self.metres += other.metres
        self.rings += other.rings
        self.pieces.update(other.pieces)


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
        self._seam: Seam | None = None
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
        seams = self._seam, None if below is None else Seam(top + len(mask), mask[-1], below)
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
        self, traced: Traced, seams: tuple[Seam | None, Seam | None],
        sure: NDArray[np.float64] | None, metres: NDArray[np.float64] | None,
    ) -> NDArray[np.int64]:  # fmt: skip
        """Numbers for the regions that touch a seam; `NONE` for the others: int64 (n,)."""
        regions = traced.regions
        names = np.full(len(regions.pixels), NONE, np.int64)
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
        self, traced: Traced, top: int, names: NDArray[np.int64], seams: tuple[Seam | None, Seam | None],
        sure: NDArray[np.float64] | None, metres: NDArray[np.float64] | None,
    ) -> list[RegionPolygon]:  # fmt: skip
        """Hands the rings of open regions to these; gives the polygons of the others."""
        regions, rings = traced.regions, traced.rings
        wanted = (names == NONE) & (regions.pixels >= self._min_area)
        if self._nodata is not None:
            wanted &= regions.classes != self._nodata
        shapes: dict[int, list[NDArray[np.int32]]] = {}
        shift = np.array([0, top], np.int32)
        for number, (region, outer) in enumerate(zip(rings.regions.tolist(), rings.outer.tolist(), strict=True)):
            if names[region] != NONE:
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

    def _cut(self, ring: NDArray[np.int32], region: _Open, seams: tuple[Seam | None, Seam | None]) -> None:
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
            start, leaves = (upper, SOUTH) if upper is not None and first_y == upper.y else (seams[1], NORTH)
            end, comes = (upper, NORTH) if upper is not None and last_y == upper.y else (seams[1], SOUTH)
            assert start is not None and end is not None, "what is cut begins and ends on a seam"
            chain = Chain.of(points, bool(start.kept[first_x]), end.following(last_x, comes))
            region.pieces[start.key(first_x, leaves)] = chain

    def _join(self, seam: Seam, names: NDArray[np.int64]) -> None:
        """What is above a seam, and what is below: `names` of the first row's regions."""
        above, y = self._last, seam.y
        same = (seam.above == seam.below) & (names != NONE)
        for pair in np.unique(np.stack([above[same], names[same]], 1), axis=0).tolist():
            self._unite(*pair)
        for begin, end in zip(seam.cuts[:-1].tolist(), seam.cuts[1:].tolist(), strict=True):
            if seam.above[begin] == seam.below[begin]:
                continue
            side = np.array([[begin, y], [end, y]], np.int32)
            if names[begin] != NONE:
                chain = Chain.of(side, bool(seam.kept[begin]), seam.following(end, EAST))
                self._open[self._root(int(names[begin]))].pieces[seam.key(begin, EAST)] = chain
            if above[begin] != NONE:
                chain = Chain.of(side[::-1], bool(seam.kept[end]), seam.following(begin, WEST))
                self._open[self._root(int(above[begin]))].pieces[seam.key(end, WEST)] = chain
        for region in self._open.values():
            region.rings += linked(region.pieces, seam.has, self._width)

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
        going_on = {self._root(name) for name in np.unique(self._last).tolist() if name != NONE}
        names = [name for name in self._open if name not in going_on]
        done = []
        for name in names:
            region = self._open.pop(name)
            assert not region.pieces, "what touches no row to come has no piece that waits for one"
            if region.pixels >= self._min_area:
                rings = [closed(ring) for ring in _outer_first(region.rings)]
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


def _outer_first(rings: list[NDArray[np.int32]]) -> list[NDArray[np.int32]]:
    return sorted(rings, key=lambda ring: signed_area(ring) < 0)
