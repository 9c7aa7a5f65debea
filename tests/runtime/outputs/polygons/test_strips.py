"""Polygons traced strip by strip are those of the whole mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from polygon_area import area_of

from dlcv.runtime.outputs.polygons import chains, simplify
from dlcv.runtime.outputs.polygons.geojson import RegionPolygon, polygons_of
from dlcv.runtime.outputs.polygons.strips import StripPolygons

Mask = NDArray[np.uint8]


def in_strips(
    mask: Mask, rows: int, confidence: NDArray[np.float32] | None = None, **options: Any
) -> list[RegionPolygon]:
    height = len(mask)
    strips = StripPolygons(mask.shape, **options)
    metres = np.arange(1, height + 1, dtype=np.float64)
    found: list[RegionPolygon] = []
    for top in range(0, height, rows):
        part = slice(top, min(height, top + rows))
        below = mask[part.stop] if part.stop < height else None
        sure = None if confidence is None else confidence[part]
        found += strips.add(top, mask[part], below, confidence=sure, row_metres=metres[part])
        waiting = sum(len(region.pieces) for region in strips._open.values())
        assert waiting <= 2 * (mask.shape[1] + 1), "as many as borders cross one seam, however many strips there were"
    assert not strips._open, "every region ends with the mask"
    return found


def ring(points: NDArray[Any]) -> tuple[tuple[int, int], ...]:
    """A closed ring, begun at its smallest point."""
    places = [(int(x), int(y)) for x, y in points[:-1]]
    first = places.index(min(places))
    return tuple(places[first:] + places[:first])


def described(polygons: list[RegionPolygon]) -> list[Any]:
    return sorted((p.index, p.pixels, ring(p.rings[0]), sorted(ring(hole) for hole in p.rings[1:])) for p in polygons)


MASKS = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**31)).map(
    lambda given: np.random.default_rng(given[3]).integers(0, given[2], given[:2], dtype=np.uint8)
)


@settings(max_examples=150)  # each a few milliseconds
@given(MASKS, st.integers(1, 12))
def test_as_of_the_whole_mask(mask: Mask, rows: int) -> None:
    assert described(in_strips(mask, rows)) == described(polygons_of(mask))


@pytest.mark.parametrize("small", [3, chains.SMALL])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_corners_where_a_region_meets_itself(rows: int, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of two classes, in which most corners are of that kind, and regions grow over many seams."""
    monkeypatch.setattr(chains, "SMALL", small)
    mask = np.random.default_rng(rows).integers(0, 5, (40, 40), dtype=np.uint8) // 3
    assert described(in_strips(mask, rows)) == described(polygons_of(mask))


def test_means_areas_and_what_is_left_out() -> None:
    generator = np.random.default_rng(0)
    mask = np.kron(generator.integers(0, 3, (8, 6), dtype=np.uint8), np.ones((5, 5), np.uint8))
    confidence = generator.random(mask.shape, np.float32)
    found = {ring(p.rings[0]): p for p in in_strips(mask, 7, confidence, min_area=30, nodata=2)}
    expected = {ring(p.rings[0]): p for p in polygons_of(mask, confidence=confidence, min_area=30) if p.index != 2}
    assert found.keys() == expected.keys()
    assert len(found) > 3
    for key, polygon in found.items():
        assert polygon.confidence == pytest.approx(expected[key].confidence)
        # the shoelace of y over the outline: of each pixel its row's number and a half, where a row is as many square metres
        assert polygon.square_metres == pytest.approx(sum(_first_moment(r) for r in polygon.rings) + polygon.pixels / 2)


def _first_moment(points: NDArray[Any]) -> float:
    """The integral of y over what a ring goes round, by Green's theorem."""
    (x, y), (next_x, next_y) = points[:-1].T.astype(float), points[1:].T.astype(float)
    return float(((x * next_y - next_x * y) * (y + next_y)).sum() / 6)


@pytest.mark.parametrize("rows", [9, 20, 64])
def test_simplified_polygons_are_valid_and_leave_no_gaps(rows: int) -> None:
    shapely = pytest.importorskip("shapely")
    import cv2

    noise = np.random.default_rng(0).normal(size=(4, 64, 70)).astype(np.float32)
    mask = np.argmax([cv2.GaussianBlur(layer, (0, 0), 3) for layer in noise], 0).astype(np.uint8)
    polygons = in_strips(mask, rows, simplify=1.5)
    shapes = [shapely.Polygon(p.rings[0], p.rings[1:]) for p in polygons]
    assert all(shape.is_valid for shape in shapes)
    assert sum(shape.area for shape in shapes) == pytest.approx(mask.size)  # no gaps: with what follows, no overlaps
    assert shapely.union_all(shapes).area == pytest.approx(mask.size)
    whole = polygons_of(mask)
    assert sum(len(r) for p in polygons for r in p.rings) < sum(len(r) for p in whole for r in p.rings) * 0.7
    assert sorted((p.index, p.pixels) for p in polygons) == sorted((p.index, p.pixels) for p in whole)


def test_a_strip_of_noise_is_not_simplified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simplify, "MOST_WORK", 1000)
    mask = np.random.default_rng(0).integers(0, 3, (30, 30), dtype=np.uint8)
    strips = StripPolygons(mask.shape, simplify=2.0)
    found = strips.add(0, mask[:20], mask[20]) + strips.add(20, mask[20:], None)
    assert strips.not_simplified
    assert described(found) == described(polygons_of(mask))
    assert [area_of(p) for p in found] == [p.pixels for p in found]
