"""Windows of an image that is never in memory as a whole.

It is read in strips, each as wide as the image and some hundred rows high, from top to bottom; a strip is read once, by
one thread at a time, and let go when the last window that touches it was cut. So an image of tiles, of strips and a JPEG, whose
rows can only be decoded in order, all cost one pass; memory grows with the image's width, not with its height.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.fitting.blending import Side
from dlcv.runtime.fitting.fitting import padded
from dlcv.runtime.raster.bands import Bands
from dlcv.runtime.raster.last_out import LastOut
from dlcv.runtime.raster.library import gdal_environment, gdal_reason, open_image, rasterio
from dlcv.runtime.raster.turned import is_turned

STRIP_ROWS = 256
"""At least so many, and whole blocks of the file; at most `MOST_STRIP_ROWS`, whatever the file's blocks are."""
MOST_STRIP_ROWS = 1024
MOST_STRIP_BYTES = 1 << 30
"""Of a strip as RGB; some are in memory at a time."""
MOST_VALUES_A_BYTE = 100_000
"""Of an image in its file. Tiles of 512 x 512 that hold nothing at all take 8 bytes each of the file's own index."""


class _Strip:
    """Rows of the image: read on first use, kept until no window needs them."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.pixels: tuple[NDArray[np.uint8], NDArray[np.bool_] | None] | None = None


class Source:
    """An image that is cut into windows; `window` may be called from several threads, windows best in row order.

    Args:
        path: of the image.
        window_hw: height and width of the windows, in pixels.
        overlap: of neighbouring windows, as a share of the window's side.
        bands, scale_16bit: see `Bands`.

    Attributes:
        dataset: of rasterio; its CRS and transform.
        rows, columns: where the windows are.

    Raises:
        TileError: when the image cannot be opened, or its values not be used.
    """

    def __init__(
        self,
        path: Path,
        window_hw: tuple[int, int],
        overlap: float,
        bands: Sequence[int] | None = None,
        scale_16bit: tuple[float, float] | None = None,
    ) -> None:
        self.dataset = _opened(path)
        try:
            self._bands = Bands(self.dataset, bands, scale_16bit)
        except TileError:
            self.dataset.close()
            raise
        self.rows = Side.of(self.dataset.height, window_hw[0], overlap)
        self.columns = Side.of(self.dataset.width, window_hw[1], overlap)
        self._strip_rows = _strip_rows(self.dataset)
        self._strips: dict[int, _Strip] = {}
        self._lock, self._reading = Lock(), LastOut(self.dataset.close)
        self._wanted: Collection[int] = range(len(self.rows.starts))
        self._users = self._count_users()

    def only(self, rows: Collection[int]) -> None:
        """No windows of other rows will be asked for; to be called before the first."""
        self._wanted = frozenset(rows)
        self._users = self._count_users()

    def window(self, row: int, column: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """One window, to be asked for once.

        Returns:
            RGB, uint8 (H, W, 3), padded by reflection where the image is smaller; and which of the image's pixels in it hold
            data, bool (min(H, h), min(W, w)), None where all do.

        Raises:
            TileError: when the rows cannot be read.
        """
        numbers = self._strips_of(row)
        strips = [self._strip(number) for number in numbers]
        top, left = self.rows.starts[row], self.columns.starts[column]
        height, width = min(self.rows.window, self.rows.length), min(self.columns.window, self.columns.length)
        first = numbers[0] * self._strip_rows
        image = _cut([pixels for pixels, _ in strips], (top - first, height), (left, width))
        valid = _cut_valid(strips, (top - first, height), (left, width))
        self._release(numbers)
        if column == 0 and row + 1 in self._wanted:
            for number in self._strips_of(row + 1):  # ahead, while other threads cut windows of this row
                self._strip(number)
        return padded(padded(image, self.rows, axis=0), self.columns, axis=1), valid

    def close(self) -> None:
        """Lets the strips go and closes the file; where a thread is reading, which may hang, that thread does when it comes back."""
        with self._lock:
            self._strips.clear()
        self._reading.end()

    def _strips_of(self, row: int) -> range:
        top = self.rows.starts[row]
        end = min(top + self.rows.window, self.rows.length)
        return range(top // self._strip_rows, (end - 1) // self._strip_rows + 1)

    def _count_users(self) -> dict[int, int]:
        """Windows that touch each strip."""
        users: dict[int, int] = {}
        for row in self._wanted:
            for number in self._strips_of(row):
                users[number] = users.get(number, 0) + len(self.columns.starts)
        return users

    def _strip(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        with self._lock:
            strip = self._strips.setdefault(number, _Strip(self._users[number]))
        if strip.pixels is None:
            with self._reading:
                if strip.pixels is None:  # else another thread has read it meanwhile
                    strip.pixels = self._read(number)
        return strip.pixels

    def _read(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        library = rasterio()
        top = number * self._strip_rows
        height = min(self._strip_rows, self.rows.length - top)
        window = library.windows.Window(0, top, self.columns.length, height)
        try:
            with gdal_environment():
                return self._bands.read(self.dataset, window)
        except (library.errors.RasterioError, OSError, MemoryError) as error:
            raise TileError(
                f"rows {top} to {top + height - 1} cannot be read: {gdal_reason(error)}; copy the file again from its source"
            ) from error

    def _release(self, numbers: Sequence[int]) -> None:
        with self._lock:
            for number in numbers:
                strip = self._strips.get(number)
                if strip is not None:
                    strip.left -= 1
                    if strip.left == 0:
                        del self._strips[number]


def _opened(path: Path) -> Any:
    dataset = open_image(path)
    problem = is_turned(dataset, path) or _too_large(dataset, path)
    if problem:
        dataset.close()
        raise TileError(problem)
    return dataset


def _too_large(dataset: Any, path: Path) -> str:
    """What is wrong with the size that the file claims; empty where nothing is."""
    height, width, file_bytes = dataset.height, dataset.width, path.stat().st_size
    if _strip_rows(dataset) * width * 3 > MOST_STRIP_BYTES:
        return f"{height} x {width} pixels: rows of that width do not fit into memory; cut it into narrower images"
    if height * width * dataset.count > MOST_VALUES_A_BYTE * file_bytes:
        return (
            f"{height} x {width} pixels in a file of {file_bytes} bytes, which cannot hold them; "
            "the file is damaged, or made to do harm"
        )
    return ""


def _strip_rows(dataset: Any) -> int:
    block = int(dataset.block_shapes[0][0])
    if block >= MOST_STRIP_ROWS:
        return MOST_STRIP_ROWS
    return -(-STRIP_ROWS // block) * block


def _cut(parts: Sequence[NDArray[np.uint8]], rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.uint8]:
    """From strips (3, h, W) one below the other, rows and columns given by begin and length: uint8 (h, w, 3)."""
    image = np.empty((rows[1], columns[1], 3), np.uint8)
    at = -rows[0]  # where a strip begins in the image
    for part in parts:
        begin, end = max(0, at), min(rows[1], at + part.shape[1])
        image[begin:end] = part[:, begin - at : end - at, columns[0] : columns[0] + columns[1]].transpose(1, 2, 0)
        at += part.shape[1]
    return image


def _cut_valid(
    strips: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> NDArray[np.bool_] | None:
    if all(valid is None for _, valid in strips):
        return None
    across = slice(columns[0], columns[0] + columns[1])
    parts = [
        np.ones((pixels.shape[1], columns[1]), np.bool_) if valid is None else valid[:, across]
        for pixels, valid in strips
    ]
    valid = np.concatenate(parts)[rows[0] : rows[0] + rows[1]]
    return None if valid.all() else valid
