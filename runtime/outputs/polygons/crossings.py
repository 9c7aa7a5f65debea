"""Which of many line segments cross or touch where they may not. Coordinates are whole numbers, so the answer is exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELL = 16
"""Side of the squares by which segments that may meet are found, in pixels; a few segments lie in one."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def crossing_pairs(begins: NDArray[np.int32], ends: NDArray[np.int32]) -> Pairs:
    """Pairs of segments that have a point in common which is not an end of both, or more than a point.

    Args:
        begins, ends: int32 (n, 2), x and y of each segment's ends.

    Returns:
        Two arrays (m,): the number of one segment and of the other. A pair may be there twice.
    """
    first, second = _candidates(np.minimum(begins, ends), np.maximum(begins, ends))
    a, b = begins[first].astype(np.int64), ends[first].astype(np.int64)
    c, d = begins[second].astype(np.int64), ends[second].astype(np.int64)
    wrong = _meet(a, b, c, d)
    return first[wrong], second[wrong]


def _meet(a: NDArray[np.int64], b: NDArray[np.int64], c: NDArray[np.int64], d: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For segments a-b and c-d, (n, 2) each: whether they meet elsewhere than in one shared end."""
    on_c, on_d, on_a, on_b = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    meet = (np.sign(on_c) * np.sign(on_d) <= 0) & (np.sign(on_a) * np.sign(on_b) <= 0)
    # in one line: whether they overlap there; the shared end of two that lie one behind the other is no overlap
    flat = (on_c == 0) & (on_d == 0)
    along = (np.minimum(np.maximum(a, b), np.maximum(c, d)) - np.maximum(np.minimum(a, b), np.minimum(c, d))).max(1)
    share = _same(a, c) | _same(a, d) | _same(b, c) | _same(b, d)
    return meet & np.where(flat, (along > 0) | ~share, ~share)


def _side(a: NDArray[np.int64], b: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Above 0 where `place` is on one side of the line from a to b, below 0 on the other, 0 on it."""
    return (b[:, 0] - a[:, 0]) * (place[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (place[:, 0] - a[:, 0])


def _same(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((a == b).all(1))


def _candidates(low: NDArray[np.int32], high: NDArray[np.int32]) -> Pairs:
    """Pairs whose boxes overlap, found by the squares that these touch."""
    from_cell, to_cell = low // CELL, high // CELL
    wide, tall = (to_cell - from_cell + 1).T.astype(np.int64)
    segment, place = _spread(wide * tall)
    x = from_cell[segment, 0] + place % wide[segment]
    y = from_cell[segment, 1] + place // wide[segment]
    cell = y.astype(np.int64) * (int(to_cell[:, 0].max()) + 1) + x
    order = np.argsort(cell, kind="stable")
    segment, cell = segment[order], cell[order]
    behind = np.searchsorted(cell, cell, side="right") - np.arange(len(cell)) - 1  # how many more share its square
    position, further = _spread(behind)
    first, second = segment[position], segment[position + further + 1]
    overlap = (low[first] <= high[second]).all(1) & (low[second] <= high[first]).all(1)
    return first[overlap], second[overlap]


def _spread(counts: NDArray[np.int64]) -> Pairs:
    """`counts[k]` times the number k, and beside it 0, 1, ... up to `counts[k]`, without it."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
