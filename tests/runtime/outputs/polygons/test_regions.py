"""Regions and their outlines: areas, holes, rings that touch no ring of their own, on masks small enough to draw."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.regions import regions_of, ring_areas, rings_of

RING = ["AAA", "ABA", "AAA"]
CORNER = ["AAA", "ABA", "AAC"]  # B and C meet in a corner, so A's hole touches its outline there
DIAGONAL = ["AB", "BA"]
PINCHED = ["AAAA", "ABAA", "AABA", "AAAA"]  # two holes that meet in a corner


def mask(rows: list[str]) -> NDArray[np.uint8]:
    return np.array([[ord(letter) - ord("A") for letter in row] for row in rows], np.uint8)


@pytest.mark.parametrize(
    ("rows", "classes", "holes"),
    [
        (["A"], [0], 0),
        (["AAB", "AAB"], [0, 1], 0),
        (RING, [0, 1], 1),
        (CORNER, [0, 1, 2], 1),
        (DIAGONAL, [0, 0, 1, 1], 0),
        (PINCHED, [0, 1, 1], 2),
    ],
)
def test_regions_and_holes(rows: list[str], classes: list[int], holes: int) -> None:
    regions = regions_of(mask(rows))
    rings = rings_of(regions.labels)
    assert regions.classes.tolist() == classes
    assert regions.pixels.tolist() == [int((regions.labels == k).sum()) for k in range(len(classes))]
    assert int((~rings.outer).sum()) == holes


def test_an_outline_by_hand() -> None:
    rings = rings_of(regions_of(mask(["AB", "AA"])).labels)
    outline = rings.ring(int(np.flatnonzero((rings.regions == 0) & rings.outer)[0])).tolist()
    assert {tuple(point) for point in outline} == {(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)}
    at = outline.index([0, 0])
    assert (outline[at:] + outline[:at])[1] == [1, 0], "with y downwards it goes clockwise to the eye"


@pytest.mark.parametrize("seed", range(60))
def test_rings_of_any_mask(seed: int) -> None:
    random = np.random.default_rng(seed)
    some = random.integers(0, 2 + seed % 3, random.integers(1, 12, 2)).astype(np.uint8)
    regions = regions_of(some)
    rings = rings_of(regions.labels)
    areas = np.bincount(rings.regions, weights=ring_areas(rings.x, rings.y, rings.starts))
    np.testing.assert_array_equal(areas, regions.pixels, "whole numbers: nothing is rounded")
    np.testing.assert_array_equal(np.bincount(rings.regions[rings.outer]), 1, "one outline a region")
    for number in range(len(rings.regions)):
        points = rings.ring(number).tolist()
        assert len({tuple(point) for point in points}) == len(points), "a ring touches itself"


def test_256_classes_and_the_largest_index() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    regions = regions_of(every)
    assert regions.classes.tolist() == list(range(256))
    assert regions.pixels.tolist() == [1] * 256
