"""The regions of a mask as polygons, and these as GeoJSON (RFC 7946)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.polygons.arcs import Arcs, arcs_of
from dlcv.runtime.outputs.polygons.regions import Regions, Rings, regions_of, rings_of
from dlcv.runtime.outputs.polygons.simplify import simplified

CONFIDENCE_DIGITS, METRE_DIGITS = 4, 6
_POINTS = 1 << 16
"""Of a ring, made text at once."""
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
            corners, or float64 after `placed`.
        square_metres: that its pixels cover; None where that is not known.
        more: of a region that the antimeridian cuts, the polygons of its other parts, as `rings`.
    """

    index: int
    pixels: int
    confidence: float | None
    rings: tuple[NDArray[Any], ...]
    square_metres: float | None = None
    more: tuple[tuple[NDArray[Any], ...], ...] = ()


@dataclass(frozen=True)
class Traced:
    """The regions of a mask and their outlines.

    Attributes:
        regions, rings: see there.
        arcs, points: after simplification; None and nothing without.
    """

    regions: Regions
    rings: Rings
    arcs: Arcs | None
    points: list[NDArray[np.int32]]

    @classmethod
    def of(cls, mask: NDArray[np.uint8], simplify: float) -> Traced:
        """See `polygons_of`.

        Raises:
            TooIntricate: when there is too much to simplify: noise.
        """
        regions = regions_of(mask)
        rings = rings_of(regions.labels)
        arcs = arcs_of(rings) if simplify > 0 else None
        return cls(regions, rings, arcs, simplified(arcs, rings, simplify) if arcs is not None else [])

    def ring(self, number: int) -> NDArray[np.int32]:
        """A ring's points, int32 (k, 2), without the first again."""
        return self.rings.ring(number) if self.arcs is None else self.arcs.ring(number, self.points)


def polygons_of(
    mask: NDArray[np.uint8],
    *,
    confidence: NDArray[np.float32] | None = None,
    simplify: float = 0.0,
    min_area: int = 0,
) -> list[RegionPolygon]:
    """The regions of a mask, each with its outline along the edges of pixels.

    Args:
        mask: uint8 (h, w), class indices; h and w at least 1.
        confidence: float32 (h, w), for the regions' means.
        simplify: how far a border may move, in pixels; 0 keeps it. Neighbours keep one border between them, without gap or
            overlap. Where three regions meet, and where a border meets the image's edge, it stays.
        min_area: regions of fewer pixels are left out; their neighbours do not grow over them.

    Returns:
        By class, and of one class by their first pixel. Without simplification a polygon's area is its number of pixels.

    Raises:
        TooIntricate: when there is too much to simplify: noise.
    """
    traced = Traced.of(mask, simplify)
    regions, rings = traced.regions, traced.rings
    means = _means(regions.labels, regions.pixels, confidence)
    shapes: list[list[NDArray[Any]]] = [[] for _ in regions.pixels]
    big = regions.pixels >= min_area
    for number, (region, outer) in enumerate(zip(rings.regions.tolist(), rings.outer.tolist(), strict=True)):
        if big[region]:
            shapes[region].insert(0 if outer else len(shapes[region]), closed(traced.ring(number)))
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


def closed(ring: NDArray[np.int32]) -> NDArray[np.int32]:
    """The ring with its first point again."""
    return np.concatenate([ring, ring[:1]])


def geojson(
    polygons: Sequence[RegionPolygon],
    classes: Sequence[str],
    *,
    crs: str | None = None,
    members: dict[str, Any] | None = None,
) -> str:
    """A FeatureCollection, a feature a line.

    Args:
        polygons: from `polygons_of`.
        classes: the card's; an index behind its end is named by its number.
        crs: see `head_of`.
        members: more of the collection's own.
    """
    features = ",\n".join(feature_of(polygon, classes) for polygon in polygons)
    return f"{head_of(crs=crs, members=members)}{features}{foot_of()}"


def head_of(*, crs: str | None = None, note: str | None = None, members: dict[str, Any] | None = None) -> str:
    """What stands before the features.

    RFC 7946 knows WGS 84 longitudes and latitudes only. Coordinates in another system carry the `crs` member of GeoJSON 2008,
    which GDAL, QGIS and PostGIS still read; a reader that knows RFC 7946 alone ignores it. Pixels carry a `note` that says so.

    Args:
        crs: authority and code of the coordinates, such as `EPSG:32643`; None for pixels.
        note: where coordinates are neither pixels nor of a system with a code, or are not what RFC 7946 wants of WGS 84.
        members: more of the collection's own.
    """
    head: dict[str, Any] = {"type": "FeatureCollection"}
    if crs is None:
        head["note"] = note or PIXEL_NOTE
    elif crs.upper() in ("EPSG:4326", "OGC:CRS84"):
        head |= {} if note is None else {"note": note}
    else:
        head["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:" + crs.replace(":", "::", 1)}}
    return json.dumps(head | (members or {}))[:-1] + ', "features": [\n'


def foot_of(members: dict[str, Any] | None = None) -> str:
    """What stands behind the features: members that are known then."""
    return (
        "\n]" + "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in (members or {}).items()) + "}\n"
    )


def feature_of(polygon: RegionPolygon, classes: Sequence[str], digits: int | None = None) -> str:
    """A feature in one line; coordinates are rounded to `digits` where given."""
    return "".join(feature_texts(polygon, classes, digits))


def feature_texts(polygon: RegionPolygon, classes: Sequence[str], digits: int | None = None) -> Iterator[str]:
    """As `feature_of`, a piece after the other: as text and as Python's numbers a region of a whole large image takes gigabytes."""
    name = classes[polygon.index] if polygon.index < len(classes) else str(polygon.index)
    properties: dict[str, Any] = {"class": name, "index": polygon.index, "pixels": polygon.pixels}
    if polygon.square_metres is not None:
        properties["square_metres"] = round(polygon.square_metres, METRE_DIGITS)
    if polygon.confidence is not None:
        properties["confidence"] = round(polygon.confidence, CONFIDENCE_DIGITS)
    kind = "MultiPolygon" if polygon.more else "Polygon"
    yield json.dumps({"type": "Feature", "properties": properties})[:-1]
    yield f', "geometry": {{"type": "{kind}", "coordinates": ' + "[" * bool(polygon.more)
    for number, rings in enumerate((polygon.rings, *polygon.more)):
        yield ", [" if number else "["
        for further, ring in enumerate(rings):
            yield ", [" if further else "["
            for begin in range(0, len(ring), _POINTS):
                points = ring[begin : begin + _POINTS]
                values = points if digits is None else np.round(points, digits)
                yield (", " if begin else "") + json.dumps(values.tolist())[1:-1]
            yield "]"
        yield "]"
    yield "]" * bool(polygon.more) + "}}"
