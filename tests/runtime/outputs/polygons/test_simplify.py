"""Simplified borders: fewer points, and still a partition of the image into valid polygons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from polygon_area import area_of

from dlcv.runtime.answers import Segmented
from dlcv.runtime.outputs.extras import Seen
from dlcv.runtime.outputs.polygons import simplify as simplify_module
from dlcv.runtime.outputs.polygons.arcs import arcs_of
from dlcv.runtime.outputs.polygons.files import NOT_SIMPLIFIED, Polygons
from dlcv.runtime.outputs.polygons.geojson import RegionPolygon, polygons_of
from dlcv.runtime.outputs.polygons.regions import regions_of, rings_of
from dlcv.runtime.outputs.polygons.simplify import MOST_WORK, TooIntricate, Work, simplified

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


def noise(side: int, classes: int) -> NDArray[np.uint8]:
    return np.random.default_rng(side).integers(0, classes, (side, side), dtype=np.uint8)


@pytest.mark.parametrize(("side", "classes"), [(96, 2), (96, 3), (64, 7)])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_noise_costs_what_it_may_and_no_more(
    monkeypatch: pytest.MonkeyPatch, side: int, classes: int, share: float
) -> None:
    """Counted where it is done, not by `Work`: segments whose crossings are looked for, and segments beside each hole."""
    looked = {"crossings": 0, "holes": 0}
    crossing_pairs, outside = simplify_module.crossing_pairs, simplify_module._outside

    def crossings(begins: NDArray[np.int32], ends: NDArray[np.int32]) -> Any:
        looked["crossings"] += len(begins)
        return crossing_pairs(begins, ends)

    def holes(shapes: list[NDArray[np.int32]], hole: list[bool]) -> list[int]:
        looked["holes"] += sum(hole) * sum(map(len, shapes))
        return outside(shapes, hole)

    monkeypatch.setattr(simplify_module, "crossing_pairs", crossings)
    monkeypatch.setattr(simplify_module, "_outside", holes)
    rings = rings_of(regions_of(noise(side, classes)).labels)
    arcs = arcs_of(rings)
    whole = Work()
    simplified(arcs, rings, 3.0, whole)
    assert looked["crossings"] * simplify_module._AROUND + looked["holes"] <= whole.done < MOST_WORK
    most = int(whole.done * share)
    looked.update(crossings=0, holes=0)
    with pytest.raises(TooIntricate, match="too many and too jagged to be simplified; leave out --simplify"):
        simplified(arcs, rings, 3.0, Work(most))
    assert looked["crossings"] * simplify_module._AROUND + looked["holes"] <= most


def test_a_tile_of_noise_is_written_as_it_was_traced_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Polygons(tmp_path, ("a", "b", "c"), 3.0, 2, with_confidence=False)
    seen = Seen(segmented=Segmented(noise(32, 3)))
    assert "not_simplified" not in json.loads(written.encode(seen)[0])
    monkeypatch.setattr(simplify_module, "MOST_WORK", 10_000)
    found = json.loads(written.encode(seen)[0])
    assert (found["not_simplified"], found["width"]) == (NOT_SIMPLIFIED, 32)
    traced = json.loads(Polygons(tmp_path, ("a", "b", "c"), 0.0, 2, with_confidence=False).encode(seen)[0])
    assert found["features"] == traced["features"]
    plain = Seen(segmented=Segmented(np.zeros((32, 32), np.uint8)))
    assert "not_simplified" not in json.loads(written.encode(plain)[0])
