"""The area of polygons, for tests that hold it against pixels."""

from __future__ import annotations

from dlcv.runtime.outputs.polygons.geojson import RegionPolygon
from dlcv.runtime.outputs.polygons.simplify import signed_area


def area_of(polygon: RegionPolygon) -> float:
    """The area of a polygon, in square units of its coordinates: of its outer ring, less its holes."""
    return sum(signed_area(ring[:-1]) for ring in polygon.rings)
