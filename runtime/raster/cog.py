"""A mask as a Cloud Optimized GeoTIFF, written strip by strip: palette, class names, georeference, overviews."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.files import remove_file
from dlcv.runtime.raster.area import square_metres
from dlcv.runtime.raster.strip_file import StripFile

NODATA = 255


def nodata_of(card: ModelCard) -> int | None:
    """What stands in masks where the image holds no data: 255, unless a class has it."""
    return NODATA if len(card.classes) <= NODATA else None


class CogMask:
    """Writes one mask; `write` may be called from several threads.

    Args:
        path: of the result.
        like: the image, opened by rasterio: its size, CRS, transform and ground control points are kept.
        card: palette and class names.

    Attributes:
        nodata: see `nodata_of`.
        row_metres: square metres of a pixel in each row, float64 (H,); None where the image does not tell.
        pixels: of each index so far, int64 (256,).
        square_metres: of each index so far, float64 (256,); None where the image does not tell the size of its pixels.

    Raises:
        OutputError: when the folder cannot be written to.
    """

    def __init__(self, path: Path, like: Any, card: ModelCard) -> None:
        self._path = path
        self._lock = Lock()
        self.nodata = nodata_of(card)
        self.row_metres = square_metres(like.crs, like.transform, like.height)
        self.pixels = np.zeros(256, np.int64)
        self.square_metres = None if self.row_metres is None else np.zeros(256)
        self._file = StripFile(path, like, nodata=self.nodata)
        self._file.guarded(lambda: _describe(self._file.dataset, card))

    def write(self, top: int, rows: NDArray[np.uint8]) -> None:
        """Writes rows, uint8 (h, W), from row `top` on.

        Raises:
            OutputError: when they cannot be written.
        """
        counts, metres = self._counted(top, rows)
        with self._lock:
            self.pixels += counts
            if self.square_metres is not None and metres is not None:
                self.square_metres += metres
        self._file.write(top, rows)

    def finish(self) -> None:
        """Makes the result of what was written, whole or not at all.

        Raises:
            OutputError: when that fails.
        """
        self._file.finish(overview_resampling="MODE")

    def discard(self) -> None:
        """Removes what is not whole."""
        self._file.discard()

    def remove(self) -> None:
        """Removes the result."""
        remove_file(self._path)

    def _counted(self, top: int, rows: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
        # a row at a time: numpy counts in a copy eight times as large
        by_row = np.stack([np.bincount(row, minlength=256) for row in rows])
        if self.row_metres is None:
            return by_row.sum(0), None
        return by_row.sum(0), self.row_metres[top : top + len(rows)] @ by_row


def _describe(dataset: Any, card: ModelCard) -> None:
    dataset.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(card.palette)})
    dataset.update_tags(DLCV_CLASSES=json.dumps(list(card.classes)), DLCV_MODEL=card.model)
    dataset.update_tags(1, **{f"CLASS_{index}": name for index, name in enumerate(card.classes)})
