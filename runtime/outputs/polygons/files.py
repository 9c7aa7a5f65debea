"""Polygons as an extra: a GeoJSON file a tile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcv.runtime.outputs.beside import POLYGONS
from dlcv.runtime.outputs.confidence import known
from dlcv.runtime.outputs.extras import FileExtra, Seen
from dlcv.runtime.outputs.polygons.geojson import RegionPolygon, geojson, polygons_of
from dlcv.runtime.outputs.polygons.simplify import TooIntricate

NOT_SIMPLIFIED = "the borders are too many and too jagged, as noise is; they are as they were traced"
"""A member of the file of a tile of which `--simplify` would take too long."""


class Polygons(FileExtra):
    """The regions of each mask, in pixels of the tile.

    Args:
        folder: of the run.
        classes: the card's.
        simplify, min_area: see `polygons_of`.
        with_confidence: whether each region gets the mean of its pixels' confidence; the engine must give it.
    """

    kinds = (POLYGONS,)

    def __init__(
        self, folder: Path, classes: Sequence[str], simplify: float = 0.0, min_area: int = 0, *, with_confidence: bool
    ) -> None:
        super().__init__(folder)
        self._classes, self._simplify, self._min_area = classes, simplify, min_area
        self.needs_confidence = with_confidence

    def encode(self, seen: Seen) -> tuple[bytes]:
        confidence = known(seen) if self.needs_confidence else None
        height, width = seen.mask.shape
        members: dict[str, Any] = {"width": width, "height": height}

        def polygons(simplify: float) -> list[RegionPolygon]:
            return polygons_of(seen.mask, confidence=confidence, simplify=simplify, min_area=self._min_area)

        try:
            found = polygons(self._simplify)
        except TooIntricate:
            members["not_simplified"] = NOT_SIMPLIFIED
            found = polygons(0.0)
        return (geojson(found, self._classes, members=members).encode(),)
