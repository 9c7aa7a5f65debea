"""How many square metres a pixel of a georeferenced image covers, row by row where it depends on the latitude."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

WGS84_A_M, WGS84_E2 = 6_378_137.0, 0.006_694_379_990_14
"""Semi-major axis in metres, and the square of the eccentricity."""
WEB_MERCATOR = 3857


def square_metres(crs: Any, transform: Any, height: int) -> NDArray[np.float64] | None:
    """Area of one pixel in each row of an image.

    Projected: the transform's determinant in the projection's own unit; on a map that is not of equal area it is off by the
    square of the local scale (UTM: at most 0.2 % within its zone). Web Mercator, whose scale grows with the latitude, is corrected
    for it. Geographic (degrees): the exact area between two parallels of the WGS 84 ellipsoid (Snyder 1987, equation 3-12).

    Args:
        crs: rasterio's; None where the image has none.
        transform: rasterio's: pixels to coordinates, affine.
        height: rows of the image.

    Returns:
        float64 (height,), square metres; None where they cannot be told: no CRS, no transform, or a geographic one whose rows do
        not follow the parallels.
    """
    if crs is None or not tells_places(transform):
        return None
    if crs.is_geographic:
        return _on_ellipsoid(transform, height)
    if not crs.is_projected:
        return None
    _, metres = crs.linear_units_factor
    plane = np.full(height, abs(transform.determinant) * metres**2)
    if crs.to_epsg() == WEB_MERCATOR:
        northings = transform.f + (np.arange(height) + 0.5) * transform.e
        return plane * _web_mercator_share(northings)
    return plane


def tells_places(transform: Any) -> bool:
    """Whether a transform of rasterio puts each pixel at a place of its own; one that is the identity, flat or not of numbers does not."""
    return not transform.is_identity and math.isfinite(sum(tuple(transform)[:6])) and transform.determinant != 0


def _on_ellipsoid(transform: Any, height: int) -> NDArray[np.float64] | None:
    if transform.b or transform.d:
        return None
    latitudes = np.radians(np.clip(transform.f + np.arange(height + 1) * transform.e, -90, 90))
    return np.abs(np.diff(_zone(latitudes))) * math.radians(abs(transform.a))


def _zone(latitude_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square metres from the equator to a latitude, for one radian of longitude."""
    sine, e = np.sin(latitude_rad), math.sqrt(WGS84_E2)
    minor_squared = WGS84_A_M**2 * (1 - WGS84_E2)
    zone: NDArray[np.float64] = minor_squared / 2 * (sine / (1 - WGS84_E2 * sine**2) + np.arctanh(e * sine) / e)
    return zone


def _web_mercator_share(northing_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """True area over area on the map: Web Mercator draws the ellipsoid's latitude by the sphere's formula."""
    sine = np.tanh(northing_m / WGS84_A_M)
    cosine_squared = 1 - sine**2
    w = 1 - WGS84_E2 * sine**2
    # radii of curvature of the meridian and across it, each over the sphere's
    share: NDArray[np.float64] = cosine_squared * (1 - WGS84_E2) / w**2
    return share
