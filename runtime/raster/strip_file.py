"""A GeoTIFF that is written strip by strip, and becomes a Cloud Optimized one when it is whole.

GDAL's COG driver wants the whole image before it begins, so strips go to a plain tiled GeoTIFF beside the result first. Both have
temporary names; the result is renamed when it is whole.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import OutputError, one_line
from dlcv.runtime.files import partial_name, remove_file, whole_file
from dlcv.runtime.raster.last_out import LastOut
from dlcv.runtime.raster.library import gdal_environment, gdal_reason, rasterio

BLOCK = 512


class StripFile:
    """Whole rows of an image, in any order; `write` may be called from several threads.

    Args:
        path: that the result has, or would have; the strips stand beside it.
        like: the image, opened by rasterio: its size, CRS, transform and ground control points are kept.
        count: of bands, uint8.
        nodata: None for none.
        name: of what is written, where several are made beside one path.

    Attributes:
        dataset: of rasterio, for colours and tags.
        strips: the path of the plain file.

    Raises:
        OutputError: when the folder cannot be written to.
    """

    def __init__(
        self, path: Path, like: Any, *, count: int = 1, nodata: int | None = None, name: str = "strips"
    ) -> None:
        self._path, self.strips = path, partial_name(path.with_name(f"{path.name}.{name}"))
        self.guarded(self._look_at_names)
        self.dataset = self.guarded(lambda: self._create(like, count, nodata))
        self._writing = LastOut(self._let_go)

    def write(self, top: int, rows: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> None:
        """Writes rows, uint8 (h, W) or (bands, h, W), from row `top` on; `valid`, bool (h, W), goes into a mask band.

        Raises:
            OutputError: when they cannot be written.
            TileError: after `discard`.
        """
        bands = rows[None] if rows.ndim == 2 else rows
        window = rasterio().windows.Window(0, top, bands.shape[2], bands.shape[1])
        with self._writing, gdal_environment():
            self.guarded(lambda: self.dataset.write(bands, window=window))
            if valid is not None:
                self.guarded(lambda: self.dataset.write_mask(valid, window=window))

    def close(self) -> None:
        """Ends writing; `strips` can be read then.

        Raises:
            OutputError: when the last of it cannot be written.
        """
        with self._writing, gdal_environment():
            self.guarded(self.dataset.close)

    def finish(self, **options: Any) -> None:
        """Makes the result of what was written, whole or not at all.

        Args:
            options: of GDAL's COG driver.

        Raises:
            OutputError: when that fails.
        """
        try:
            self.close()
            self.copy_to(self._path, **options)
        finally:
            self.discard()

    def copy_to(self, path: Path, **options: Any) -> None:
        """Makes a Cloud Optimized GeoTIFF of the strips, which were closed; whole or not at all.

        Raises:
            OutputError: when that fails.
        """
        given = {"compress": "DEFLATE", **options}
        with gdal_environment(), whole_file(path) as temporary:
            self.guarded(
                lambda: rasterio().shutil.copy(
                    self.strips, temporary, driver="COG", blocksize=BLOCK, bigtiff="IF_SAFER", num_threads="ALL_CPUS", **given
                )
            )  # fmt: skip

    def discard(self) -> None:
        """Removes the strips; where a thread is writing one, that thread does, and nobody waits for it."""
        self._writing.end()

    def _let_go(self) -> None:
        with suppress(Exception):  # what is thrown away need not be whole
            self.dataset.close()
        remove_file(self.strips)

    def guarded(self, action: Callable[[], Any]) -> Any:
        """Runs it; GDAL's errors become ours."""
        library = rasterio()
        try:
            return action()
        except UnicodeEncodeError as error:  # the folder's: an image of such a name is not opened
            path = one_line(self._path)
            raise OutputError(f"cannot write {path}: its name is not UTF-8, and GDAL writes no others") from error
        except (library.errors.RasterioError, library._err.CPLE_BaseError, OSError) as error:
            reason = getattr(error, "strerror", None) or gdal_reason(error)
            raise OutputError(f"cannot write {self._path}: {reason}") from error

    def _look_at_names(self) -> None:
        """Has the system refuse what it would refuse when all is computed, and in its own words, which GDAL's are not."""
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(self._path).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with open(self.strips, "wb"):
            pass

    def _create(self, like: Any, count: int, nodata: int | None) -> Any:
        with gdal_environment():
            dataset = rasterio().open(
                self.strips, "w", driver="GTiff", width=like.width, height=like.height, count=count, dtype="uint8",
                tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="DEFLATE", zlevel=1, bigtiff="IF_SAFER",
                crs=like.crs, transform=None if like.transform.is_identity else like.transform, nodata=nodata,
            )  # fmt: skip
            points, points_crs = like.gcps
            if points:
                dataset.gcps = (points, points_crs)
            kept = {name: value for name, value in like.tags().items() if name == "AREA_OR_POINT"}
            dataset.update_tags(**kept)
            return dataset
