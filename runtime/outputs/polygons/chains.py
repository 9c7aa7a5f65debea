"""Pieces of rings that wait for what follows them, as chains that grow from seam to seam; a chain that meets itself is a ring.

A chain keeps its points in parts, so that one that goes on for hundreds of strips is not copied at each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

S = TypeVar("S", bound=np.generic)

SMALL = 1024
"""Points: parts of fewer are put together."""


@dataclass
class Chain:
    """A part of a ring, from one corner on a seam to another.

    Attributes:
        points: int32 (k, 2) each, in order; the corner where it ends is not among them, the one where it begins is.
        stays: whether each point stays where it is on a straight line: bool (k,) each.
        following: the key of the chain behind it.
    """

    __slots__ = ("following", "points", "stays")

    points: list[NDArray[np.int32]]
    stays: list[NDArray[np.bool_]]
    following: int

    @classmethod
    def of(cls, points: NDArray[np.int32], kept: bool, following: int) -> Chain:
        """A piece.

        Args:
            points: int32 (k, 2), from corner to corner.
            kept: whether the first one stays on a straight line; the others do.
            following: see there.
        """
        stays = np.ones(len(points) - 1, np.bool_)
        stays[0] = kept
        return cls([points[:-1].copy()], [stays], following)  # a view would keep the whole ring

    def take(self, other: Chain) -> None:
        """Goes on with the one behind it."""
        self.points += other.points
        self.stays += other.stays
        self.following = other.following

    def pack(self) -> None:
        """Puts small parts together."""
        if len(self.points) > 1:
            self.points, self.stays = _packed(self.points), _packed(self.stays)

    def ring(self) -> NDArray[np.int32]:
        """All points, int32 (k, 2), of one that ends where it begins, less those on a straight line that need not stay."""
        points, stays = np.concatenate(self.points), np.concatenate(self.stays)
        asked = np.flatnonzero(~stays)
        here = points[asked].astype(np.int64)
        before, behind = here - points[asked - 1], points[(asked + 1) % len(points)] - here
        stays[asked] = before[:, 0] * behind[:, 1] != before[:, 1] * behind[:, 0]
        return points[stays]


def linked(chains: dict[int, Chain], ready: Callable[[int], bool], width: int) -> Iterator[NDArray[np.int32]]:
    """Puts chains together where one is ready to be followed by the next; gives the rings that are whole, int32 (k, 2).

    Args:
        chains: by the key of where they begin; those that are in a ring, or behind another, are taken out.
        ready: whether a key is of where two chains meet, and both are there.
        width: of the mask, in pixels.
    """
    for key in [key for key in chains if not ready(key)]:
        first = chains[key]
        while ready(first.following):
            first.take(chains.pop(first.following))
        first.pack()
    for key in list(chains):
        if ready(key) and key in chains:  # what is left of these are rings
            first = chains.pop(key)
            while first.following != key:
                first.take(chains.pop(first.following))
            yield from simple_rings(first.ring(), width)


def simple_rings(ring: NDArray[np.int32], width: int) -> Iterator[NDArray[np.int32]]:
    """The rings in one that passes some corners twice.

    Args:
        ring: int32 (k, 2).
        width: of the mask, in pixels.
    """
    corners = ring[:, 1].astype(np.int64) * (width + 1) + ring[:, 0]
    in_order = np.sort(corners)
    twice = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
    if len(twice) == 0:
        yield ring
        return
    del in_order
    places = np.flatnonzero(twice[np.minimum(np.searchsorted(twice, corners), len(twice) - 1)] == corners)
    stretches = np.split(ring, places)  # each begins at such a corner, but for the first
    path: list[NDArray[np.int32]] = [stretches[0]]
    passed: list[int] = [-1]  # where each of the path begins
    where: dict[int, int] = {}  # the place in the path of each corner
    for corner, stretch in zip(corners[places].tolist(), stretches[1:], strict=True):
        if corner in where:
            begin = where[corner]
            yield np.concatenate(path[begin:])
            for gone in passed[begin:]:
                del where[gone]
            del path[begin:], passed[begin:]
        where[corner] = len(path)
        path.append(stretch)
        passed.append(corner)
    yield np.concatenate(path)


def _packed(parts: list[NDArray[S]]) -> list[NDArray[S]]:
    packed: list[NDArray[S]] = []
    run: list[NDArray[S]] = []
    for part in parts:
        if len(part) < SMALL:
            run.append(part)
            continue
        if run:
            packed.append(np.concatenate(run))
            run = []
        packed.append(part)
    if run:
        packed.append(np.concatenate(run))
    return packed
