"""Square metres of a pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from dlcv.runtime.raster.area import square_metres


def from_origin(west: float, north: float, x_size: float, y_size: float) -> Affine:
    """North up; rasterio's own function is written with an operator that affine 3.1 warns of."""
    return Affine(x_size, 0, west, 0, -y_size, north)


def test_metres_and_feet() -> None:
    utm = square_metres(CRS.from_epsg(32640), from_origin(325000, 2790000, 0.5, 0.25), 3)
    assert utm is not None
    assert utm.tolist() == [0.125] * 3
    feet = square_metres(CRS.from_epsg(2263), from_origin(0, 0, 2, 2), 1)  # New York, US survey feet
    assert feet is not None
    assert feet[0] == pytest.approx(4 * (1200 / 3937) ** 2, rel=1e-9)


def test_a_turned_transform_has_its_determinant() -> None:
    turned = Affine(2 * math.cos(0.5), 3 * math.sin(0.5), 0, 2 * math.sin(0.5), -3 * math.cos(0.5), 0)
    metres = square_metres(CRS.from_epsg(32640), turned, 1)
    assert metres is not None
    assert metres[0] == pytest.approx(6, rel=1e-9)
    assert square_metres(CRS.from_epsg(4326), turned, 1) is None


def test_degrees_add_up_to_the_earth() -> None:
    rows = square_metres(CRS.from_epsg(4326), from_origin(-180, 90, 0.5, 0.5), 360)
    assert rows is not None
    assert rows.sum() * 720 == pytest.approx(510_065_621.724e6, rel=1e-9)  # the surface of WGS 84 in square metres
    np.testing.assert_allclose(rows, rows[::-1], rtol=1e-9)
    assert rows[0] < rows[180] / 100


def test_a_small_cell_is_its_sides_product() -> None:
    latitude = math.radians(25.2)
    w = 1 - 0.00669437999014 * math.sin(latitude) ** 2
    north = 6378137 * (1 - 0.00669437999014) / w**1.5 * math.radians(1e-5)
    east = 6378137 / math.sqrt(w) * math.cos(latitude) * math.radians(1e-5)
    cell = square_metres(CRS.from_epsg(4326), from_origin(55, 25.2 + 0.5e-5, 1e-5, 1e-5), 1)
    assert cell is not None
    assert cell[0] == pytest.approx(north * east, rel=1e-5)  # cancellation in the difference of two zones


def test_web_mercator_is_corrected_for_its_scale() -> None:
    """The same ground in degrees and in Web Mercator, whose determinant alone is 1.22 times too large at 25 degrees."""
    latitude, step = math.radians(25.2), 1e-5
    northing = 6378137 * math.log(math.tan(math.pi / 4 + latitude / 2))
    degrees = square_metres(CRS.from_epsg(4326), from_origin(55, 25.2 + step / 2, step, step), 1)
    size = 6378137 * math.radians(step)
    mercator = square_metres(
        CRS.from_epsg(3857), from_origin(0, northing + size / 2, size, size / math.cos(latitude)), 1
    )
    assert degrees is not None
    assert mercator is not None
    assert mercator[0] == pytest.approx(degrees[0], rel=1e-5)
    assert size * size / math.cos(latitude) > 1.1 * mercator[0]


def test_what_tells_no_size() -> None:
    assert square_metres(None, from_origin(0, 0, 1, 1), 2) is None
    assert square_metres(CRS.from_epsg(32640), Affine.identity(), 2) is None
