"""The regions of a mask as polygons, and these as GeoJSON (RFC 7946)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.arcs import arcs_of
from dlcv.runtime.outputs.polygons.regions import regions_of, rings_of
from dlcv.runtime.outputs.polygons.simplify import signed_area, simplified

CONFIDENCE_DIGITS = 4
PIXEL_NOTE = (
    "coordinates are pixels of the tile: x to the right, y down, 0,0 the upper left corner; they are no longitudes"
)


@dataclass(frozen=True)
class RegionPolygon:
    """A region's outline.

    Attributes:
        index: of its class.
        pixels: how many it has in the mask, whatever simplification did to the outline.
        confidence: mean of the pixels' confidence, 0..1; None where there is none.
        rings: the outer ring, then a ring a hole; each (k, 2), x and y, the first point again at its end. The outer ring goes
            counterclockwise and holes clockwise in the coordinates' own axes (the right-hand rule of RFC 7946). int32 pixel
            corners, or float64 after a transform.
    """

    index: int
    pixels: int
    confidence: float | None
    rings: tuple[NDArray[Any], ...]


def polygons_of(
    mask: NDArray[np.uint8],
    *,
    confidence: NDArray[np.float32] | None = None,
    simplify: float = 0.0,
    min_area: int = 0,
    transform: Sequence[float] | None = None,
) -> list[RegionPolygon]:
    """The regions of a mask, each with its outline along the edges of pixels.

    Args:
        mask: uint8 (h, w), class indices; h and w at least 1.
        confidence: float32 (h, w), for the regions' means.
        simplify: how far a border may move, in pixels; 0 keeps it. Neighbours keep one border between them, without gap or
            overlap. Where three regions meet, and where a border meets the image's edge, it stays.
        min_area: regions of fewer pixels are left out; their neighbours do not grow over them.
        transform: a, b, c, d, e, f of the affine map from pixel corners to coordinates, as rasterio's `Affine` begins:
            x' = a x + b y + c, y' = d x + e y + f.

    Returns:
        By class, and of one class by their first pixel. Without simplification a polygon's area is its number of pixels.

    Raises:
        TooIntricate: when there is too much to simplify: noise.
    """
    regions = regions_of(mask)
    rings = rings_of(regions.labels)
    arcs = arcs_of(rings) if simplify > 0 else None
    points = simplified(arcs, rings, simplify) if arcs is not None else []
    means = _means(regions.labels, regions.pixels, confidence)
    shapes: list[list[NDArray[Any]]] = [[] for _ in regions.pixels]
    big = regions.pixels >= min_area
    for number, (region, outer) in enumerate(zip(rings.regions.tolist(), rings.outer.tolist(), strict=True)):
        if big[region]:
            ring = arcs.ring(number, points) if arcs is not None else rings.ring(number)
            shapes[region].insert(0 if outer else len(shapes[region]), _closed(ring, transform))
    return [
        RegionPolygon(index, pixels, mean, tuple(shape))
        for index, pixels, mean, shape in zip(
            regions.classes.tolist(), regions.pixels.tolist(), means, shapes, strict=True
        )
        if shape
    ]


def _means(
    labels: NDArray[np.int32], pixels: NDArray[np.int64], confidence: NDArray[np.float32] | None
) -> Sequence[float | None]:
    if confidence is None:
        return [None] * len(pixels)
    means: list[float] = (np.bincount(labels.ravel(), weights=confidence.ravel()) / pixels).tolist()
    return means


def _closed(ring: NDArray[np.int32], transform: Sequence[float] | None) -> NDArray[Any]:
    """The ring in the transform's coordinates, with its first point again; turned round where the transform mirrors it."""
    closed: NDArray[Any] = np.concatenate([ring, ring[:1]])
    if transform is None:
        return closed
    a, b, c, d, e, f = (float(value) for value in tuple(transform)[:6])
    if a * e - b * d < 0:
        closed = closed[::-1]
    x, y = closed[:, 0].astype(np.float64), closed[:, 1].astype(np.float64)
    return np.stack([a * x + b * y + c, d * x + e * y + f], 1)


def area_of(polygon: RegionPolygon) -> float:
    """The area of a polygon, in square units of its coordinates: of its outer ring, less its holes."""
    return sum(signed_area(ring[:-1]) for ring in polygon.rings)


def geojson(
    polygons: Sequence[RegionPolygon],
    classes: Sequence[str],
    *,
    crs: str | None = None,
    pixel_area: float | None = None,
    members: dict[str, Any] | None = None,
) -> str:
    """A FeatureCollection, a feature a line.

    RFC 7946 knows WGS 84 longitudes and latitudes only. Coordinates in another system carry the `crs` member of GeoJSON 2008,
    which GDAL, QGIS and PostGIS still read; a reader that knows RFC 7946 alone ignores it. Pixels carry a `note` that says so.

    Args:
        polygons: from `polygons_of`.
        classes: the card's; an index behind its end is named by its number.
        crs: authority and code of the polygons' coordinates, such as `EPSG:32643`; None for pixels.
        pixel_area: of one pixel, in square metres: each feature gets `square_metres`.
        members: more of the collection's own.
    """
    head: dict[str, Any] = {"type": "FeatureCollection"}
    if crs is None:
        head["note"] = PIXEL_NOTE
    elif crs.upper() not in ("EPSG:4326", "OGC:CRS84"):
        head["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:" + crs.replace(":", "::", 1)}}
    text = json.dumps(head | (members or {}))[:-1]
    features = ",\n".join(json.dumps(feature) for feature in _features(polygons, classes, pixel_area))
    return f'{text}, "features": [\n{features}\n]}}\n'


def _features(
    polygons: Sequence[RegionPolygon], classes: Sequence[str], pixel_area: float | None
) -> Iterator[dict[str, Any]]:
    for polygon in polygons:
        name = classes[polygon.index] if polygon.index < len(classes) else str(polygon.index)
        properties: dict[str, Any] = {"class": name, "index": polygon.index, "pixels": polygon.pixels}
        if pixel_area is not None:
            properties["square_metres"] = polygon.pixels * pixel_area
        if polygon.confidence is not None:
            properties["confidence"] = round(polygon.confidence, CONFIDENCE_DIGITS)
        geometry = {"type": "Polygon", "coordinates": [ring.tolist() for ring in polygon.rings]}
        yield {"type": "Feature", "properties": properties, "geometry": geometry}
