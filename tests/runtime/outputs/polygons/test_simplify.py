"""Simplified borders: fewer points, and still a partition of the image into valid polygons."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons import simplify as simplify_module
from dlcv.runtime.outputs.polygons.arcs import arcs_of
from dlcv.runtime.outputs.polygons.geojson import RegionPolygon, area_of, polygons_of
from dlcv.runtime.outputs.polygons.regions import regions_of, rings_of

TOLERANCES = (0.5, 1.0, 1.5, 3.0, 6.0)


def speckled(seed: int) -> NDArray[np.uint8]:
    """Smooth fields of four classes with single pixels of another on them: what makes simplification go wrong."""
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(4, 40, 2))
    coarse = random.integers(0, 4, (5, 5)).astype(np.uint8) * 60
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) // 61
    field[random.random(field.shape) < 0.04] = 9
    return np.asarray(field, np.uint8)


def points(polygons: list[RegionPolygon]) -> int:
    return sum(len(ring) for polygon in polygons for ring in polygon.rings)


def check_partition(polygons: list[RegionPolygon], size: int) -> None:
    """By shapely, which knows nothing of us: valid polygons whose areas, and whose union's area, are the image's."""
    shapely = pytest.importorskip("shapely")
    shapes = [shapely.Polygon(polygon.rings[0], polygon.rings[1:]) for polygon in polygons]
    for shape in shapes:
        assert shapely.is_valid(shape), shapely.is_valid_reason(shape)
    # float64's rounding of sums over a thousand small areas
    assert sum(shape.area for shape in shapes) == pytest.approx(size, abs=1e-6)
    assert shapely.union_all(shapes).area == pytest.approx(size, abs=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_any_mask_stays_a_partition(seed: int) -> None:
    mask = speckled(seed)
    check_partition(polygons_of(mask), mask.size)
    for tolerance in TOLERANCES:
        check_partition(polygons_of(mask, simplify=tolerance), mask.size)


@pytest.mark.parametrize("without", ["crossing_pairs", "_strayed"])
def test_each_check_is_needed(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: dict[str, Any] = {
        "crossing_pairs": lambda begins, ends: (np.zeros(0, np.int64), np.zeros(0, np.int64)),
        "_strayed": lambda *_: set(),
    }
    monkeypatch.setattr(simplify_module, without, nothing[without])
    pytest.importorskip("shapely")
    for seed in range(40):
        mask = speckled(seed)
        for tolerance in TOLERANCES:
            try:
                check_partition(polygons_of(mask, simplify=tolerance), mask.size)
            except AssertionError:
                return
    pytest.fail(f"nothing goes wrong without {without}")


def test_a_ring_that_is_turned_inside_out_is_seen() -> None:
    """No mask is known on which Douglas and Peucker's points do this without a crossing; nothing rules it out."""
    mask = np.zeros((5, 5), np.uint8)
    mask[2, 1:4] = 1
    rings = rings_of(regions_of(mask).labels)
    arcs = arcs_of(rings)
    island = next(iter(arcs.rings[int(np.flatnonzero(rings.outer & (rings.regions == 1))[0])]))[0]
    assert simplify_module._turned(arcs, rings, arcs.points) == set()
    turned = [walk[::-1] if number == island else walk for number, walk in enumerate(arcs.points)]
    assert simplify_module._turned(arcs, rings, turned) == {island}


def test_a_slope_loses_its_steps_and_stays_near() -> None:
    mask = (np.add.outer(np.arange(64), np.arange(64)) > 60).astype(np.uint8)
    exact, simple = polygons_of(mask), polygons_of(mask, simplify=1.0)
    assert points(simple) < points(exact) / 8
    for before, after in zip(exact, simple, strict=True):
        assert abs(area_of(after) - before.pixels) <= 64 * np.sqrt(2), (
            "a border of that length moved by at most a pixel"
        )
        assert after.pixels == before.pixels


def test_neighbours_share_each_point_of_their_border() -> None:
    polygons = polygons_of(speckled(3), simplify=1.5)
    height, width = speckled(3).shape
    owners: dict[tuple[int, int], int] = {}
    for polygon in polygons:
        for place in {tuple(point) for ring in polygon.rings for point in ring.tolist()}:
            owners[place] = owners.get(place, 0) + 1
    inside = {place: n for place, n in owners.items() if 0 < place[0] < width and 0 < place[1] < height}
    assert inside
    assert min(inside.values()) >= 2


def test_the_images_edge_stays() -> None:
    mask = speckled(5)
    height, width = mask.shape
    every = np.concatenate([ring for polygon in polygons_of(mask, simplify=6) for ring in polygon.rings])
    assert {(0, 0), (width, 0), (0, height), (width, height)} <= {tuple(point) for point in every.tolist()}


def test_an_island_too_small_for_the_tolerance_stays_as_it_is() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[4, 4] = 1
    sea, island = polygons_of(mask, simplify=5)
    assert area_of(island) == 1
    assert area_of(sea) == 80


def test_a_border_is_one_arc_for_both_of_its_sides() -> None:
    rings = rings_of(regions_of(np.array([[0, 0, 1, 1], [0, 0, 0, 1]], np.uint8)).labels)
    arcs = arcs_of(rings)
    used = sorted(arc for ring in arcs.rings for arc, _ in ring)
    assert len(arcs.points) == 7, "the border, and six stretches of the image's edge between corners and its two ends"
    assert [arc for arc in set(used) if used.count(arc) == 2] == [
        next(number for number, walk in enumerate(arcs.points) if len(walk) == 4)
    ]
