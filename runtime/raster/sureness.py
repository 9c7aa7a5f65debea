"""How sure a model is of a large image: levels of 8 bits on the disk, as small tiles' maps have them, and the mean of all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.raster.strip_file import StripFile

SCALE = 60_000
"""A probability of 1 as uint16: its rounding is a thousandth of a per cent, and there is room above for rounding up."""
NO_LEVEL = 0
"""Where there is no data. The likeliest of up to 256 classes has at least 1/256, which is level 1."""


@dataclass(frozen=True)
class Levels:
    """The confidence of some rows.

    Attributes:
        levels: uint8 (h, W); 0 without data.
        pixels: with data.
        total: of their steps of 1/`SCALE`.
        below: how many are below 0.5.
    """

    levels: NDArray[np.uint8]
    pixels: int
    total: int
    below: int


class Sureness:
    """Takes each pixel's confidence; `write` may be called from several threads.

    Args:
        mask_path: beside which the levels stand until they are copied.
        like: the image, opened by rasterio.
        with_nodata: whether pixels may be without data.

    Raises:
        OutputError: when the folder cannot be written to.
    """

    def __init__(self, mask_path: Path, like: Any, *, with_nodata: bool) -> None:
        self._lock = Lock()
        self._pixels = self._sum = self._below = 0
        self._file = StripFile(mask_path, like, nodata=NO_LEVEL if with_nodata else None, name="confidence")
        self.levels = self._file.strips
        self._file.guarded(self._describe)
        steps = np.arange(1 << 16, dtype=np.float64)
        self._table = np.clip(np.rint(steps * 255 / SCALE), 1, 255).astype(np.uint8)
        self._table[0] = NO_LEVEL

    def levels_of(self, steps: NDArray[np.uint16]) -> Levels:
        """Of rows, uint16 (h, W), of 1/`SCALE`, 0 without data."""
        known = steps > 0
        counted = int(np.count_nonzero(known))
        total = int(steps.sum(dtype=np.int64))  # whole numbers: the order of strips does not matter
        below = int(np.count_nonzero(steps < SCALE // 2)) - (steps.size - counted)
        return Levels(self._table[steps], counted, total, below)

    def write(self, top: int, rows: Levels) -> None:
        """Rows from row `top` on.

        Raises:
            OutputError: when they cannot be written.
        """
        with self._lock:
            self._pixels += rows.pixels
            self._sum += rows.total
            self._below += rows.below
        self._file.write(top, rows.levels)

    def end(self) -> tuple[float, float]:
        """Closes the file, so that it can be read; the mean of pixels with data, and the share of them below 0.5.

        Raises:
            OutputError: when the last of it cannot be written.
        """
        self._file.close()
        pixels = max(1, self._pixels)
        return self._sum / SCALE / pixels, self._below / pixels

    def copy_to(self, path: Path) -> None:
        """The levels as a Cloud Optimized GeoTIFF: 255 is a probability of 1, which the band's scale says, too.

        Raises:
            OutputError: when it cannot be written.
        """
        self._file.copy_to(path, overview_resampling="AVERAGE")

    def _describe(self) -> None:
        self._file.dataset.scales = (1 / 255,)
        self._file.dataset.update_tags(1, DESCRIPTION="probability of the class that was chosen")

    def discard(self) -> None:
        """Removes the levels."""
        self._file.discard()
