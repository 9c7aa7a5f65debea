"""Polygons as an extra: a GeoJSON file a tile; of a large image in longitudes and latitudes, written while it is traced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dlcv.runtime.files import whole_file
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.outputs.beside import POLYGONS, beside
from dlcv.runtime.outputs.confidence import known
from dlcv.runtime.outputs.extras import FileExtra, Seen, scene_of
from dlcv.runtime.outputs.polygons.antimeridian import cut_at_180
from dlcv.runtime.outputs.polygons.geojson import RegionPolygon, feature_texts, foot_of, geojson, head_of, polygons_of
from dlcv.runtime.outputs.polygons.placing import PIECE_PX, placed
from dlcv.runtime.outputs.polygons.simplify import TooIntricate
from dlcv.runtime.outputs.polygons.strips import StripPolygons
from dlcv.runtime.raster.ground import DEGREE_DIGITS
from dlcv.runtime.tiles.tile_list import Tile

if TYPE_CHECKING:
    from dlcv.runtime.raster.scene import Scene

STRIP_PIXELS = 1 << 22
"""Of a large image, traced at once: some 400 MB of working memory where borders are many."""

NOT_SIMPLIFIED = "the borders are too many and too jagged, as noise is; they are as they were traced"
"""A member of the file of a tile of which `--simplify` would take too long."""


class Polygons(FileExtra):
    """The regions of each mask, in pixels of the tile; of a large image where they are on Earth.

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

    def write_large(self, tile: Tile, counted: Counted) -> str:
        scene = scene_of(counted)
        with (
            self._files.at(beside(POLYGONS, tile.key)) as path,
            whole_file(path) as temporary,
            open(temporary, "w", encoding="utf-8") as file,
        ):
            self._stream(scene, file)
        return ""

    def _stream(self, scene: Scene, file: IO[str]) -> None:
        height, width = scene.size_hw
        ground = scene.ground
        polygons = StripPolygons(scene.size_hw, simplify=self._simplify, min_area=self._min_area, nodata=scene.nodata)
        file.write(head_of(crs=ground.crs, note=ground.note, members={"width": width, "height": height}))
        between = ""
        for strip in scene.masks(max(1, STRIP_PIXELS // width), halo=1, confidence=self.needs_confidence):
            rows = slice(strip.above, len(strip.mask) - strip.below)
            found = polygons.add(
                strip.top, strip.mask[rows], strip.mask[-1] if strip.below else None,
                confidence=None if strip.levels is None else strip.levels[rows] / np.float32(255),
                row_metres=None if scene.row_metres is None else scene.row_metres[strip.top :][: rows.stop - rows.start],
            )  # fmt: skip
            piece_px = PIECE_PX if ground.source is not None else None
            for polygon in found if ground.transform is None else placed(found, ground.place, piece_px=piece_px):
                shown = cut_at_180(polygon, DEGREE_DIGITS) if ground.beyond else polygon
                file.write(between)
                file.writelines(feature_texts(shown, self._classes, ground.digits))
                between = ",\n"
        file.write(foot_of({"not_simplified": NOT_SIMPLIFIED} if polygons.not_simplified else {}))
