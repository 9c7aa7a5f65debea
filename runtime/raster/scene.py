"""A large image whose mask is written: image, mask and confidence, read again from the disk in parts, for what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.raster.bands import Bands
from dlcv.runtime.raster.ground import Ground
from dlcv.runtime.raster.library import gdal_environment, gdal_reason, open_image, rasterio
from dlcv.runtime.raster.strip_file import StripFile
from dlcv.runtime.raster.sureness import Sureness
from dlcv.runtime.raster.telling import Telling

Draw = Callable[[NDArray[np.uint8], NDArray[np.uint8], tuple[int, int]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Scene:
    """What a large image is and what was said about it.

    Attributes:
        path: of the image.
        mask_path: of its mask.
        size_hw: in pixels.
        nodata: what stands in the mask where there is no data; None: nowhere.
        bands, scale_16bit: see `Bands`.
        row_metres: square metres of a pixel in each row, float64 (H,); None where they are not known.
        sureness: the levels of confidence; None where they are not known.
        no_data: how many pixels are without.
        telling: is told how far those are who go through the mask.
    """

    path: Path
    mask_path: Path
    size_hw: tuple[int, int]
    nodata: int | None
    bands: Sequence[int] | None = None
    scale_16bit: tuple[float, float] | None = None
    row_metres: NDArray[np.float64] | None = None
    sureness: Sureness | None = None
    no_data: int = 0
    telling: Telling = field(default_factory=Telling)

    @cached_property
    def ground(self) -> Ground:
        """Where on Earth the image's pixels are.

        Raises:
            TileError: when the image cannot be opened any more.
        """
        with self._reading(), open_image(self.path) as dataset:
            return Ground.of(dataset)

    def masks(self, rows: int, *, halo: int = 0, confidence: bool = False) -> Iterator[Strip]:
        """Mask, and confidence where asked for, in strips of some rows from top to bottom.

        Raises:
            TileError: when one cannot be read.
        """
        with ExitStack() as stack:
            with self._reading():
                mask, levels = stack.enter_context(_plain(self.mask_path)), None
                if confidence and self.sureness is not None:
                    levels = stack.enter_context(_plain(self.sureness.levels))
            height, width = self.size_hw
            for top in range(0, height, rows):
                end = min(height, top + rows)
                first, last = max(0, top - halo), min(height, end + halo)
                window = rasterio().windows.Window(0, first, width, last - first)
                with self._reading():  # not across the yield: whoever takes the strips has an environment of its own
                    values = mask.read(1, window=window)
                    sure = None if levels is None else levels.read(1, window=window)
                yield Strip(top, top - first, last - end, values, sure)
                self.telling.reached(end, height)

    def write_overlay(self, path: Path, draw: Draw, *, lossless: bool) -> None:
        """Writes an overlay as a Cloud Optimized GeoTIFF: RGB, georeferenced; without data, masked.

        Args:
            path: of the file.
            draw: from the image's pixels uint8 (h, w, 3), and the mask of these and of a row and a column around them, as far as
                the image goes: uint8 (h, w, 3). Where that is, is told by the offset of the image in the mask: y, x.
            lossless: or as JPEG.

        Raises:
            TileError: when the image cannot be read again.
            OutputError: when the overlay cannot be written.
        """
        with self._reading(), open_image(self.path) as dataset:
            bands = Bands(dataset, self.bands, self.scale_16bit)
            file = StripFile(path, dataset, count=3)
            try:
                for strip in self.masks(ROWS, halo=1):
                    height = len(strip.mask) - strip.above - strip.below
                    window = rasterio().windows.Window(0, strip.top, self.size_hw[1], height)
                    image, _ = bands.read(dataset, window)
                    drawn, valid = self._drawn(image, strip, draw)
                    file.write(strip.top, drawn, valid)
                self.telling.begin("overlays, with overviews")
                jpeg = {"compress": "JPEG", "quality": 88, "overview_compress": "JPEG", "overview_quality": 88}
                file.finish(overview_resampling="AVERAGE", **({} if lossless else jpeg))
            finally:
                file.discard()

    def preview(self, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The image uint8 (h, w, 3), RGB, and its mask uint8 (h, w), scaled down so that no side is longer than `side`.

        From overviews where the files have them; else in strips.

        Raises:
            TileError: when the image cannot be read again.
        """
        factor = max(1, -(-max(self.size_hw) // side))
        height, width = (-(-length // factor) for length in self.size_hw)
        image, mask = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8)
        step = max(1, 512 // factor)
        with self._reading(), open_image(self.path) as dataset, _plain(self.mask_path) as said:
            bands = Bands(dataset, self.bands, self.scale_16bit)
            for top in range(0, height, step):
                rows = slice(top, min(height, top + step))
                first, last = top * factor, min(self.size_hw[0], rows.stop * factor)
                window = rasterio().windows.Window(0, first, self.size_hw[1], last - first)
                size_hw = (rows.stop - rows.start, width)
                image[rows] = bands.read(dataset, window, size_hw)[0].transpose(1, 2, 0)
                mask[rows] = said.read(1, window=window, out_shape=size_hw)
        return image, mask

    def _drawn(
        self, image: NDArray[np.uint8], strip: Strip, draw: Draw
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """A strip of the overlay, uint8 (3, h, W), and where there is data."""
        height, width = image.shape[1:]
        drawn = np.empty((3, height, width), np.uint8)
        for left in range(0, width, COLUMNS):
            right = min(width, left + COLUMNS)
            before, behind = min(left, 1), min(width - right, 1)
            part = np.ascontiguousarray(image[:, :, left:right].transpose(1, 2, 0))
            around = np.ascontiguousarray(strip.mask[:, left - before : right + behind])
            drawn[:, :, left:right] = draw(part, around, (strip.above, before)).transpose(2, 0, 1)
        if not self.no_data:
            return drawn, None
        mask = strip.mask[strip.above : strip.above + height]
        valid = mask != self.nodata
        np.copyto(drawn, image, where=~valid)
        return drawn, valid

    @contextmanager
    def _reading(self) -> Iterator[None]:
        library = rasterio()
        try:
            with gdal_environment():
                yield
        except (library.errors.RasterioError, OSError, MemoryError) as error:
            raise TileError(f"it or its mask cannot be read again: {gdal_reason(error)}") from error


@dataclass(frozen=True)
class Strip:
    """Rows of a mask.

    Attributes:
        top: the first row's number.
        above, below: how many more rows, of the neighbours, `mask` has before and behind.
        mask: uint8 (h, W).
        levels: of confidence, uint8 (h, W); 0 without data; None where they are not known.
    """

    top: int
    above: int
    below: int
    mask: NDArray[np.uint8]
    levels: NDArray[np.uint8] | None


ROWS, COLUMNS = 512, 4096
"""Of an overlay, drawn at once."""


def _plain(path: Path) -> Any:
    return rasterio().open(path, driver="GTiff", sharing=False)
