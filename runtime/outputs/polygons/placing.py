"""Polygons in other coordinates than pixels: on a map, or in longitudes and latitudes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.geojson import RegionPolygon
from dlcv.runtime.outputs.polygons.simplify import signed_area

PIECE_PX = 64.0
"""Longest side of a polygon, in pixels, where a straight side on one map is none on the other. Of pixels of 1 km, the arc and
its chord are less than a tenth of a pixel apart."""

AT_ONCE = 1 << 17
"""Points placed at once: the outline of one region of a large image has tens of millions."""


def placed(
    polygons: Sequence[RegionPolygon],
    place: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    piece_px: float | None = None,
) -> Iterator[RegionPolygon]:
    """The same polygons in other coordinates, one after the other; outer rings go counterclockwise in these, too.

    Args:
        polygons: in pixels.
        place: corners (n, 2) -> coordinates float64 (n, 2), each for itself; is given at most some `AT_ONCE`.
        piece_px: cut longer sides into pieces of at most that; neighbours' common sides are cut in the same points.
    """
    moved = _moved((ring for polygon in polygons for ring in polygon.rings), place, piece_px)
    for polygon in polygons:
        shape = [next(moved) for _ in polygon.rings]
        if signed_area(shape[0][:-1] - shape[0][0]) < 0:  # from its own corner: far from 0,0 the digits would not do
            shape = [ring[::-1] for ring in shape]
        yield replace(polygon, rings=tuple(shape))


def _moved(
    rings: Iterable[NDArray[np.int32]],
    place: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    piece_px: float | None,
) -> Iterator[NDArray[np.float64]]:
    """Closed rings elsewhere: short ones together, long ones in stretches."""

    def together(lines: list[NDArray[np.int32]]) -> list[NDArray[np.float64]]:
        given = [np.asarray(line, np.float64) if piece_px is None else _in_pieces(line, piece_px) for line in lines]
        return np.split(place(np.concatenate(given)), np.cumsum([len(line) for line in given])[:-1])

    waiting: list[NDArray[np.int32]] = []
    points = 0
    for ring in rings:
        if waiting and points + len(ring) > AT_ONCE:
            yield from together(waiting)
            waiting, points = [], 0
        if len(ring) > AT_ONCE:
            stretches = [ring[begin : begin + AT_ONCE + 1] for begin in range(0, len(ring) - 1, AT_ONCE)]
            yield np.concatenate(
                [*(together([stretch])[0][:-1] for stretch in stretches), place(ring[-1:].astype(np.float64))]
            )
        else:
            waiting.append(ring)
            points += len(ring)
    if waiting:
        yield from together(waiting)


def _in_pieces(ring: NDArray[Any], piece_px: float) -> NDArray[np.float64]:
    """A line, (k, 2), with points put into its longer sides."""
    begins, ends = ring[:-1].astype(np.float64), ring[1:].astype(np.float64)
    pieces = np.maximum(1, np.ceil(np.hypot(*(ends - begins).T) / piece_px)).astype(np.int64)
    if pieces.max() == 1:
        return np.asarray(ring, np.float64)
    side = np.repeat(np.arange(len(pieces)), pieces)
    step = np.arange(len(side)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    # counted from the same end by both neighbours, whose sides go opposite ways, so that they round alike
    turned = (begins[:, 0] > ends[:, 0]) | ((begins[:, 0] == ends[:, 0]) & (begins[:, 1] > ends[:, 1]))
    low, high = np.where(turned[:, None], ends, begins), np.where(turned[:, None], begins, ends)
    count = np.where(turned[side], pieces[side] - step, step)
    points = low[side] + (high - low)[side] * (count / pieces[side])[:, None]
    return np.concatenate([points, ends[-1:]])
