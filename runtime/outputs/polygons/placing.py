"""Polygons in other coordinates than pixels: on a map, or in longitudes and latitudes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.geojson import RegionPolygon
from dlcv.runtime.outputs.polygons.simplify import signed_area

PIECE_PX = 64.0
"""Longest side of a polygon, in pixels, where a straight side on one map is none on the other. Of pixels of 1 km, the arc and
its chord are less than a tenth of a pixel apart."""


def placed(
    polygons: Sequence[RegionPolygon],
    place: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    piece_px: float | None = None,
) -> list[RegionPolygon]:
    """The same polygons in other coordinates; outer rings go counterclockwise in these, too.

    Args:
        polygons: in pixels.
        place: corners (n, 2) -> coordinates float64 (n, 2).
        piece_px: cut longer sides into pieces of at most that; neighbours' common sides are cut in the same points.
    """
    rings = [ring for polygon in polygons for ring in polygon.rings]
    if not rings:
        return list(polygons)
    given = [np.asarray(ring, np.float64) if piece_px is None else _in_pieces(ring, piece_px) for ring in rings]
    bounds = np.cumsum([len(ring) for ring in given])[:-1]
    found = iter(np.split(place(np.concatenate(given)), bounds))
    moved = []
    for polygon in polygons:
        shape = [next(found) for _ in polygon.rings]
        if signed_area(shape[0][:-1] - shape[0][0]) < 0:  # from its own corner: far from 0,0 the digits would not do
            shape = [ring[::-1] for ring in shape]
        moved.append(replace(polygon, rings=tuple(shape)))
    return moved


def _in_pieces(ring: NDArray[Any], piece_px: float) -> NDArray[np.float64]:
    """A closed ring, (k, 2), with points put into its longer sides."""
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
    return np.concatenate([points, points[:1]])
