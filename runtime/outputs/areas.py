"""The area of each class in each tile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dlcv.runtime.outputs.extras import Seen, TableExtra
from dlcv.runtime.outputs.mask_folder import class_pixels


class Areas(TableExtra):
    """`areas.csv`: a row a tile and class: pixels, share of the tile, square metres where a pixel's area is known.

    Classes that a tile lacks have no row.

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


def area_rows(pixels: Sequence[int], classes: Sequence[str], pixel_area: float | None = None) -> list[list[str]]:
    """The rows of one tile.

    Args:
        pixels: of each class index.
        classes: the card's; an index behind its end is named by its number.
        pixel_area: of one pixel, in square metres; None where it is not known.
    """
    total = sum(pixels)
    rows = []
    for index in np.flatnonzero(pixels).tolist():
        name = classes[index] if index < len(classes) else str(index)
        metres = "" if pixel_area is None else f"{pixels[index] * pixel_area:.10g}"
        rows.append([name, str(pixels[index]), f"{pixels[index] / total:.6f}", metres])
    return rows
