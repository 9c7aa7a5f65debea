"""Where two strips of a mask meet: which way a ring goes on that comes to the seam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""No class, no region."""
EAST, SOUTH, WEST, NORTH = range(4)


class Seam:
    """Where two strips meet.

    Args:
        y: the row below it.
        above, below: uint8 (W,), the classes on both sides.

    Attributes:
        kept: whether each corner stays on a straight line, since three regions meet there: bool (W + 1,).
        cuts: the corners where a border crosses the seam or turns, in order.
    """

    def __init__(self, y: int, above: NDArray[np.uint8], below: NDArray[np.uint8]) -> None:
        self.y, self.above, self.below = y, above, below
        outside = np.array([NONE], np.int16)
        upper, lower = (np.concatenate([outside, row.astype(np.int16), outside]) for row in (above, below))
        # around corner x: the pixels before it are x - 1, behind it x; one further in these
        nw, ne, sw, se = upper[:-1], upper[1:], lower[:-1], lower[1:]
        differ = [nw != ne, ne != se, se != sw, sw != nw]
        self.kept = np.sum(differ, 0) >= 3
        self._turns = {
            EAST: _turned(EAST, sw, se, ne),
            SOUTH: _turned(SOUTH, nw, sw, se),
            WEST: _turned(WEST, ne, nw, sw),
            NORTH: _turned(NORTH, se, ne, nw),
        }
        self.cuts = np.flatnonzero((nw != ne) | (sw != se))

    def key(self, x: int, direction: int) -> int:
        """Of a piece that leaves corner `x` in a direction."""
        return ((self.y * (len(self.above) + 1)) + x) * 4 + direction

    def has(self, key: int) -> bool:
        """Whether a key is of a corner on this seam."""
        return key // (4 * (len(self.above) + 1)) == self.y

    def following(self, x: int, direction: int) -> int:
        """Key of the piece behind one that comes to corner `x` in a direction."""
        return self.key(x, int(self._turns[direction][x]))


def _turned(
    direction: int, behind: NDArray[np.int16], right: NDArray[np.int16], left: NDArray[np.int16]
) -> NDArray[np.int64]:
    """The direction in which a ring goes on: its pixel on the right behind the corner, and the two ahead."""
    turn = np.where(right == behind, np.where(left == behind, 3, 0), 1)
    return (direction + turn) % 4
