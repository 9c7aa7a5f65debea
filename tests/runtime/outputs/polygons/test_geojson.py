"""Polygons of a mask and their GeoJSON, by hand and by rasterising them again."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from polygon_area import area_of

from dlcv.runtime.outputs.polygons import placing
from dlcv.runtime.outputs.polygons.geojson import (
    PIXEL_NOTE,
    RegionPolygon,
    feature_of,
    feature_texts,
    geojson,
    polygons_of,
)
from dlcv.runtime.outputs.polygons.placing import placed

MASK = np.array([[0, 0, 0, 2], [0, 1, 0, 2], [0, 0, 0, 0]], np.uint8)


def fields(size: int) -> NDArray[np.uint8]:
    """Blobs of seven classes, about as many regions as a real tile has."""
    import cv2

    noise = np.random.default_rng(0).normal(size=(7, size, size)).astype(np.float32)
    return np.argmax([cv2.GaussianBlur(layer, (0, 0), 7) for layer in noise], 0).astype(np.uint8)


def test_regions_with_holes_and_their_numbers() -> None:
    confidence = np.full(MASK.shape, 0.5, np.float32)
    confidence[1, 1] = 0.9
    confidence[0, 3] = 1.0
    land, island, strip = polygons_of(MASK, confidence=confidence)
    assert [(p.index, p.pixels, len(p.rings)) for p in (land, island, strip)] == [(0, 9, 2), (1, 1, 1), (2, 2, 1)]
    assert (land.confidence, island.confidence, strip.confidence) == pytest.approx(
        (0.5, 0.9, 0.75)
    )  # float32's rounding
    assert [area_of(p) for p in (land, island, strip)] == [9, 1, 2]
    for polygon in (land, island, strip):
        for ring in polygon.rings:
            assert ring[0].tolist() == ring[-1].tolist(), "a ring of GeoJSON is closed"


def test_the_areas_of_a_real_size_are_the_pixels_and_it_is_quick() -> None:
    mask = fields(512)
    start = time.perf_counter()
    polygons = polygons_of(mask)
    took_s = time.perf_counter() - start
    assert len(polygons) > 300
    assert [area_of(polygon) for polygon in polygons] == [polygon.pixels for polygon in polygons]
    assert took_s < 2, "tens of milliseconds on a quiet machine; a loop over pixels would take seconds"


def test_polygons_drawn_again_give_the_mask() -> None:
    """rasterio's polygons and ours have the same areas, class by class, and its rasteriser gives our mask back."""
    features = pytest.importorskip("rasterio.features")
    mask = fields(96)
    shapes = [({"type": "Polygon", "coordinates": [r.tolist() for r in p.rings]}, p.index) for p in polygons_of(mask)]
    np.testing.assert_array_equal(features.rasterize(shapes, mask.shape, fill=99, dtype="uint8"), mask)
    assert len(list(features.shapes(mask))) == len(shapes)


def test_a_transform_maps_corners_and_keeps_the_right_hand_rule() -> None:
    # half a metre a pixel, y upwards
    polygons = list(placed(polygons_of(MASK), lambda corners: corners * (0.5, -0.5) + (300.0, 200.0)))
    assert [area_of(polygon) for polygon in polygons] == [9 / 4, 1 / 4, 2 / 4], "outer rings still counterclockwise"
    assert polygons[1].rings[0].min(0).tolist() == [300.5, 199.0]
    assert polygons[1].rings[0].max(0).tolist() == [301.0, 199.5]
    turned = placed(polygons_of(MASK), lambda corners: corners[:, ::-1] * 2)
    assert [area_of(polygon) for polygon in turned] == [36, 4, 8]
    assert list(placed([], lambda corners: corners)) == []


def test_long_sides_are_cut_where_straight_lines_do_not_stay_straight() -> None:
    """Neighbours keep one border, though each walks it another way round."""
    mask = np.zeros((7, 200), np.uint8)
    mask[3:] = 1
    above, below = placed(polygons_of(mask), lambda corners: corners**2, piece_px=30)
    assert len(above.rings[0]) == 2 * 7 + 2 + 1, "200 px are 7 pieces, 3 px are one; and the first point again"
    border = {tuple(point) for point in above.rings[0].tolist() if point[1] == 9}
    assert border == {tuple(point) for point in below.rings[0].tolist() if point[1] == 9}
    assert len(border) == 8


@pytest.mark.parametrize("piece_px", [None, 1.5])
@pytest.mark.parametrize("at_once", [1, 2, 7, 50])
def test_rings_are_placed_a_few_points_at_a_time(
    at_once: int, piece_px: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long rings in stretches and short ones together are the same as all at once."""
    asked: list[int] = []

    def place(corners: NDArray[np.float64]) -> NDArray[np.float64]:
        asked.append(len(corners))
        return corners * (0.5, -0.25) + (300.0, 200.0)

    polygons = polygons_of(fields(24))
    whole = list(placed(polygons, place, piece_px=piece_px))
    assert len(asked) == 1
    monkeypatch.setattr(placing, "AT_ONCE", at_once)
    asked.clear()
    for wanted, found in zip(whole, placed(polygons, place, piece_px=piece_px), strict=True):
        assert len(wanted.rings) == len(found.rings)
        for one, other in zip(wanted.rings, found.rings, strict=True):
            np.testing.assert_array_equal(one, other)
    longest_side = 24 / (piece_px or 24) + 1
    assert max(asked) <= (at_once + 1) * longest_side


def test_small_regions_are_left_out_and_their_hole_stays() -> None:
    land, strip = polygons_of(MASK, min_area=2)
    assert (land.index, strip.index) == (0, 2)
    assert len(land.rings) == 2


def test_geojson_of_pixels() -> None:
    confidence = np.full(MASK.shape, 0.25, np.float32)
    values = json.loads(geojson(polygons_of(MASK, confidence=confidence), ["land", 'wa"ter'], members={"width": 4}))
    assert (values["type"], values["note"], values["width"]) == ("FeatureCollection", PIXEL_NOTE, 4)
    assert "crs" not in values
    assert [feature["properties"] for feature in values["features"]] == [
        {"class": "land", "index": 0, "pixels": 9, "confidence": 0.25},
        {"class": 'wa"ter', "index": 1, "pixels": 1, "confidence": 0.25},
        {"class": "2", "index": 2, "pixels": 2, "confidence": 0.25},
    ]
    island = values["features"][1]["geometry"]
    assert island["type"] == "Polygon"
    assert sorted(island["coordinates"][0][:-1]) == [[1, 1], [1, 2], [2, 1], [2, 2]], "whole numbers"


def test_geojson_elsewhere() -> None:
    polygons = [
        replace(p, square_metres=p.pixels / 4) for p in placed(polygons_of(MASK), lambda corners: corners * 1.0)
    ]
    metres = json.loads(geojson(polygons, ["a", "b", "c"], crs="EPSG:32643"))
    assert metres["crs"] == {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32643"}}
    assert [feature["properties"]["square_metres"] for feature in metres["features"]] == [2.25, 0.25, 0.5]
    assert "note" not in metres
    degrees = json.loads(geojson(polygons, ["a", "b", "c"], crs="EPSG:4326"))
    assert not {"crs", "note"} & degrees.keys(), "what RFC 7946 itself means"


def test_geojson_of_nothing() -> None:
    assert json.loads(geojson(polygons_of(MASK, min_area=99), ["a"]))["features"] == []


@pytest.mark.parametrize("digits", [None, 3])
def test_a_long_feature_in_pieces_is_that_in_one(digits: int | None) -> None:
    rng = np.random.default_rng(0)
    rings = tuple(rng.uniform(-180, 180, (count, 2)) for count in (150_000, 65_536, 5))
    polygon = RegionPolygon(0, 9, None, rings)
    given = [(ring if digits is None else np.round(ring, digits)).tolist() for ring in rings]
    assert json.loads(feature_of(polygon, ["a"], digits))["geometry"] == {"type": "Polygon", "coordinates": given}
    assert max(map(len, feature_texts(polygon, ["a"], digits))) < 4_000_000, "never the whole of it"
    more = replace(polygon, more=((rings[2],),))
    assert json.loads(feature_of(more, ["a"], digits))["geometry"]["coordinates"] == [given, given[2:]]
