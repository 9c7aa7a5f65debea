"""Where pixels are on Earth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.warp import transform_geom

from dlcv.runtime.errors import TileError
from dlcv.runtime.outputs.polygons.geojson import head_of
from dlcv.runtime.raster.area import square_metres
from dlcv.runtime.raster.ground import LATITUDE_NOTE, MAP_NOTE, Ground

WriteGeo = Callable[..., Path]
BLANK = np.zeros((40, 60), np.uint8)
CORNERS = np.array([[0, 0], [60, 0], [13, 17], [60, 40]], np.float64)


def ground(path: Path) -> Ground:
    with rasterio.open(path) as file:
        return Ground.of(file)


def test_a_projection_becomes_longitudes_and_latitudes(tmp_path: Path, write_geo: WriteGeo) -> None:
    transform = Affine(0.5, 0.1, 325_000, 0.1, -0.5, 2_790_000)  # turned
    found = ground(write_geo(tmp_path / "a.tif", BLANK, transform=transform))
    points = {"type": "MultiPoint", "coordinates": [transform @ tuple(corner) for corner in CORNERS]}
    expected = transform_geom("EPSG:32640", "EPSG:4326", points)["coordinates"]
    np.testing.assert_allclose(found.place(CORNERS), expected, atol=1e-12)
    assert (found.crs, found.note) == ("EPSG:4326", None)
    assert 55 < found.place(CORNERS)[0, 0] < 56, "longitude first"


def test_degrees_stay(tmp_path: Path, write_geo: WriteGeo) -> None:
    found = ground(write_geo(tmp_path / "a.tif", BLANK, crs="EPSG:4326", transform=Affine(6, 0, -180, 0, -4.5, 90)))
    np.testing.assert_allclose(found.place(CORNERS), CORNERS * (6, -4.5) + (-180, 90))
    assert not found.beyond and found.note is None


def test_pixels_without_a_transform(tmp_path: Path, write_geo: WriteGeo) -> None:
    plain = ground(write_geo(tmp_path / "plain.tif", BLANK, crs=None, transform=None))
    path = write_geo(tmp_path / "points.tif", BLANK, crs=None, transform=None)
    with rasterio.open(path, "r+") as file:
        points = [GroundControlPoint(row, col, 100.0 + col, 50.0 - row) for row, col in ((0, 0), (0, 7), (7, 0))]
        file.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    for found in (plain, ground(path)):
        assert found == Ground()
        assert found.place(CORNERS) is CORNERS


def test_a_map_without_a_system(tmp_path: Path, write_geo: WriteGeo) -> None:
    found = ground(write_geo(tmp_path / "a.tif", BLANK, crs=None))
    np.testing.assert_array_equal(found.place(CORNERS), CORNERS * (0.5, -0.5) + (325_000, 2_790_000))
    assert (found.crs, found.note) == (None, MAP_NOTE)


def test_across_the_antimeridian_longitudes_go_on(tmp_path: Path, write_geo: WriteGeo) -> None:
    transform = Affine(100, 0, 832_000, 0, -100, 100_000)  # near 180 degrees in zone 60
    found = ground(write_geo(tmp_path / "a.tif", BLANK, crs="EPSG:32660", transform=transform))
    longitudes = found.place(CORNERS)[:, 0]
    assert found.beyond
    assert "note" not in json.loads(head_of(crs=found.crs, note=found.note) + "]}"), "they are cut"
    assert (np.abs(longitudes) > 179.9).all()
    assert np.ptp(longitudes) < 0.1
    whole = Affine(667_916, 0, -20_037_508, 0, -1_000_000, 20_000_000)
    earth = ground(write_geo(tmp_path / "b.tif", BLANK, crs="EPSG:3857", transform=whole))
    assert not earth.beyond and earth.note is None
    own = Affine(1, 0, 176, 0, -1, 10)  # in degrees that go on themselves
    found = ground(write_geo(tmp_path / "c.tif", BLANK, crs="EPSG:4326", transform=own))
    assert (found.about, found.beyond) == (None, True)


def test_what_has_no_longitude_is_refused(tmp_path: Path, write_geo: WriteGeo) -> None:
    found = ground(write_geo(tmp_path / "a.tif", BLANK))
    with pytest.raises(TileError, match="no longitudes and latitudes"):
        found.place(np.array([[1e12, 1e12]]))


def test_a_projection_without_a_way_back_keeps_its_own_coordinates(tmp_path: Path, write_geo: WriteGeo) -> None:
    transform: Any = Affine(1e6, 0, 2e8, 0, -1e6, 2e8)  # nowhere on Earth
    found = ground(write_geo(tmp_path / "a.tif", BLANK, crs="EPSG:3035", transform=transform))
    assert (found.source, found.crs) == (None, "EPSG:3035")


def test_degrees_of_another_datum_go_on_beyond_180_too(tmp_path: Path, write_geo: WriteGeo) -> None:
    own = Affine(1, 0, 176, 0, -1, 10)
    found = ground(write_geo(tmp_path / "a.tif", BLANK, crs="EPSG:4269", transform=own))
    np.testing.assert_allclose(found.place(CORNERS), CORNERS * (1, -1) + (176, 10), atol=1e-6)


def test_far_on_both_sides_of_the_antimeridian(tmp_path: Path, write_geo: WriteGeo) -> None:
    """Its middle is less than 90 degrees from Greenwich, which says nothing about its ends."""
    own = Affine(389_000, 0, -19_480_000, 0, -100_000, 2_000_000)  # 60 columns about 150 degrees east: -25 to 185
    found = ground(write_geo(tmp_path / "a.tif", BLANK, crs="EPSG:3832", transform=own))
    longitudes = found.place(np.array([[0, 0], [30, 20], [60, 40]], np.float64))[:, 0]
    degrees = 150 + np.array([-19_480_000, -7_810_000, 3_860_000]) / 6_378_137 * 180 / np.pi
    np.testing.assert_allclose(longitudes, degrees, atol=1e-6)
    assert found.beyond


def test_round_a_pole_there_are_no_longitudes_to_draw_in(tmp_path: Path, write_geo: WriteGeo) -> None:
    pole = Affine(1000, 0, -30_000, 0, -1000, 20_000)
    found = ground(write_geo(tmp_path / "a.tif", BLANK, crs="EPSG:3031", transform=pole))
    assert (found.source, found.crs) == (None, "EPSG:3031")
    beside = Affine(1000, 0, -30_000, 0, -1000, -100_000)  # across the antimeridian, and not round the pole
    found = ground(write_geo(tmp_path / "b.tif", BLANK, crs="EPSG:3031", transform=beside))
    assert found.crs == "EPSG:4326" and found.beyond
    assert np.ptp(found.place(CORNERS)[:, 0]) < 90


def test_a_transform_that_is_not_of_numbers_is_none(tmp_path: Path, write_geo: WriteGeo) -> None:
    path = write_geo(tmp_path / "a.tif", BLANK, transform=Affine(float("nan"), 0, 325_000, 0, -0.5, 2_790_000))
    assert ground(path) == Ground()
    with rasterio.open(path) as file:
        assert square_metres(file.crs, file.transform, file.height) is None


def test_latitudes_beyond_the_pole_are_told(tmp_path: Path, write_geo: WriteGeo) -> None:
    own = Affine(0.5, 0, 0, 0, -0.5, 95)
    assert ground(write_geo(tmp_path / "a.tif", BLANK, crs="EPSG:4326", transform=own)).note == LATITUDE_NOTE
