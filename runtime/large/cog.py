"""A mask as a Cloud Optimized GeoTIFF, written strip by strip: palette, class names, georeference, overviews.

GDAL's COG driver wants the whole image before it begins, so strips go to a plain tiled GeoTIFF beside the result first. Both have
temporary names; the result is renamed when it is whole.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.errors import OutputError, one_line
from dlcv.runtime.files import partial_name, remove_file, whole_file
from dlcv.runtime.large.area import square_metres
from dlcv.runtime.large.library import gdal_environment, rasterio

BLOCK = 512
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
        pixels: of each index so far, int64 (256,).
        square_metres: of each index so far, float64 (256,); None where the image does not tell the size of its pixels.

    Raises:
        OutputError: when the folder cannot be written to.
    """

    def __init__(self, path: Path, like: Any, card: ModelCard) -> None:
        self._path, self._card = path, card
        self._plain = partial_name(path.with_name(path.name + ".strips"))
        self._lock = Lock()
        self.nodata = nodata_of(card)
        self._row_metres = square_metres(like.crs, like.transform, like.height)
        self.pixels = np.zeros(256, np.int64)
        self.square_metres = None if self._row_metres is None else np.zeros(256)
        self._dataset = self._guarded(lambda: self._create(like))

    def write(self, top: int, rows: NDArray[np.uint8]) -> None:
        """Writes rows, uint8 (h, W), from row `top` on.

        Raises:
            OutputError: when they cannot be written.
        """
        counts, metres = self._counted(top, rows)
        window = rasterio().windows.Window(0, top, rows.shape[1], rows.shape[0])
        with self._lock:
            self.pixels += counts
            if self.square_metres is not None and metres is not None:
                self.square_metres += metres
            with gdal_environment():
                self._guarded(lambda: self._dataset.write(rows, 1, window=window))

    def finish(self) -> None:
        """Makes the result of what was written, whole or not at all.

        Raises:
            OutputError: when that fails.
        """
        try:
            with gdal_environment():
                self._guarded(self._dataset.close)
                with whole_file(self._path) as temporary:
                    self._guarded(lambda: self._to_cog(temporary))
        finally:
            self.discard()

    def discard(self) -> None:
        """Removes what is not whole."""
        with suppress(Exception):  # what is thrown away need not be whole
            self._dataset.close()
        remove_file(self._plain)

    def _create(self, like: Any) -> Any:
        with gdal_environment():
            dataset = rasterio().open(
                self._plain, "w", driver="GTiff", width=like.width, height=like.height, count=1, dtype="uint8",
                tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="DEFLATE", zlevel=1, bigtiff="IF_SAFER",
                crs=like.crs, transform=None if like.transform.is_identity else like.transform, nodata=self.nodata,
            )  # fmt: skip
            points, points_crs = like.gcps
            if points:
                dataset.gcps = (points, points_crs)
            dataset.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(self._card.palette)})
            kept = {name: value for name, value in like.tags().items() if name == "AREA_OR_POINT"}
            names = {f"CLASS_{index}": name for index, name in enumerate(self._card.classes)}
            dataset.update_tags(**kept, DLCV_CLASSES=json.dumps(list(self._card.classes)), DLCV_MODEL=self._card.model)
            dataset.update_tags(1, **names)
            return dataset

    def _to_cog(self, temporary: Path) -> None:
        rasterio().shutil.copy(
            self._plain, temporary, driver="COG", compress="DEFLATE", blocksize=BLOCK, overview_resampling="MODE",
            bigtiff="IF_SAFER", num_threads="ALL_CPUS",
        )  # fmt: skip

    def _counted(self, top: int, rows: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
        # a row at a time: numpy counts in a copy eight times as large
        by_row = np.stack([np.bincount(row, minlength=256) for row in rows])
        if self._row_metres is None:
            return by_row.sum(0), None
        return by_row.sum(0), self._row_metres[top : top + len(rows)] @ by_row

    def _guarded(self, action: Any) -> Any:
        """Runs it; GDAL's errors become ours."""
        library = rasterio()
        try:
            return action()
        except (library.errors.RasterioError, library._err.CPLE_BaseError, OSError) as error:
            raise OutputError(f"cannot write {self._path}: {one_line(str(error).strip())[:300]}") from error
