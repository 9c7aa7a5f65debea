"""Rings as arcs that neighbours share, so that what is done to a border is done to both of its sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.regions import Rings


@dataclass(frozen=True)
class Arcs:
    """The borders between regions, each once.

    Attributes:
        points: of each arc, int32 (k, 2), x and y, both ends among them; a closed one ends where it begins.
        rings: of each ring, (arc, whether it is walked backwards), in order.
    """

    points: list[NDArray[np.int32]]
    rings: list[list[tuple[int, bool]]]

    def ring(self, number: int, points: list[NDArray[np.int32]]) -> NDArray[np.int32]:
        """A ring from its arcs as `points` has them: int32 (k, 2), without its first point again."""
        parts = [points[arc][::-1][:-1] if backwards else points[arc][:-1] for arc, backwards in self.rings[number]]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def arcs_of(rings: Rings) -> Arcs:
    """Cuts rings at the points where three or more borders meet, and at the corners of the image."""
    places = np.stack([rings.x, rings.y], 1)
    # a corner's number, by which the two rings along a border agree where it begins
    numbers = (rings.y.astype(np.int64) * (int(rings.x.max()) + 1) + rings.x).tolist()
    known: dict[tuple[int, int], int] = {}
    arcs = Arcs([], [])
    nodes = rings.node
    for start, end in zip(rings.starts[:-1].tolist(), rings.starts[1:].tolist(), strict=True):
        cuts = np.flatnonzero(nodes[start:end])
        if len(cuts) == 0:
            cuts = np.array([min(range(end - start), key=lambda k: numbers[start + k])])
        ends = [*cuts[1:].tolist(), int(cuts[0]) + end - start]
        arcs.rings.append(
            [_arc(arcs, known, places, numbers, start, end, a, b) for a, b in zip(cuts.tolist(), ends, strict=True)]
        )
    return arcs


def _arc(
    arcs: Arcs, known: dict[tuple[int, int], int], places: NDArray[np.int32], numbers: list[int],
    start: int, end: int, first: int, last: int,
) -> tuple[int, bool]:  # fmt: skip
    """The arc of the ring `start:end` from its point `first` to its point `last`, known already or not."""
    length = end - start

    def number(k: int) -> int:
        return numbers[start + k % length]

    # An end and the point beside it tell an arc: no two leave a corner in one direction.
    forwards, backwards = (number(first), number(first + 1)), (number(last), number(last - 1))
    key = min(forwards, backwards)
    if key not in known:
        known[key] = len(arcs.points)
        walk = (
            places[start + first : start + last + 1]
            if last < length
            else np.concatenate([places[start + first : end], places[start : start + last - length + 1]])
        )
        arcs.points.append(walk if key == forwards else walk[::-1])
    return known[key], key != forwards
