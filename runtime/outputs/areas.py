"""The area of each class in each tile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.outputs.extras import Seen, TableExtra
from dlcv.runtime.outputs.mask_folder import class_pixels
from dlcv.runtime.records.journal import csv_line
from dlcv.runtime.tiles.tile_list import Tile


class Areas(TableExtra):
    """`areas.csv`: a row a tile and class: pixels, share of the tile, square metres where a pixel's area is known.

    Classes that a tile lacks have no row; an image without any data has one, of no class and 0 pixels, which tells that it is done.

    Args:
        folder: of the run.
        classes: the card's.
    """

    name = "areas.csv"
    columns = ("class", "pixels", "share", "square_metres")

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        super().__init__(folder)
        self._classes = classes

    def rows(self, seen: Seen) -> Iterable[Sequence[str]]:
        return area_rows(class_pixels(seen.mask).tolist(), self._classes)

    def write_large(self, tile: Tile, counted: Counted) -> str:
        known = len(self._classes)  # pixels without data are of no class
        metres = None if counted.square_metres is None else counted.square_metres[:known].tolist()
        rows = area_rows(counted.pixels[:known].tolist(), self._classes, metres)
        return "".join(csv_line((tile.key, *values)) for values in rows)


def area_rows(
    pixels: Sequence[int], classes: Sequence[str], square_metres: Sequence[float] | None = None
) -> list[list[str]]:
    """The rows of one tile.

    Args:
        pixels: of each class index.
        classes: the card's; an index behind its end is named by its number.
        square_metres: of each class index; None where they are not known.
    """
    total = sum(pixels)
    if not total:
        return [["", "0", "", ""]]
    rows = []
    for index in np.flatnonzero(pixels).tolist():
        name = classes[index] if index < len(classes) else str(index)
        metres = "" if square_metres is None else f"{square_metres[index]:.10g}"
        rows.append([name, str(pixels[index]), f"{pixels[index] / total:.6f}", metres])
    return rows
