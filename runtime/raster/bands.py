"""Which bands of an image are red, green and blue, how their values become 8 bits, and where there is no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.raster.library import rasterio
from dlcv.runtime.tiles.decode import table_16bit

_16BIT = ("uint16", "int16")


class Bands:
    """The bands of an opened dataset as RGB.

    Args:
        dataset: of rasterio.
        given: band numbers from 1, three or one; None takes those that say they are red, green and blue, else the first three.
        scale_16bit: see `DecodeOptions`.

    Raises:
        TileError: when a band is not there, or the values are neither up to 8 bits nor 16 bits with a scale.
    """

    def __init__(
        self, dataset: Any, given: Sequence[int] | None = None, scale_16bit: tuple[float, float] | None = None
    ) -> None:
        self.numbers = _chosen(dataset, given)
        self._table = _table(dataset, self.numbers, scale_16bit)
        self._first = -32768 if dataset.dtypes[self.numbers[0] - 1] == "int16" else 0
        flags = [flag.name for flag in dataset.mask_flag_enums[self.numbers[0] - 1]]
        self._nodata = [dataset.nodatavals[number - 1] for number in self.numbers] if "nodata" in flags else None
        self._masked = "per_dataset" in flags or "alpha" in flags

    def read(
        self, dataset: Any, window: Any, size_hw: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Pixels of a window of the dataset.

        Args:
            dataset: opened.
            window: of rasterio.
            size_hw: scale it down to that, from the file's overviews where it has some: means, of a palette nearest pixels.

        Returns:
            RGB, uint8 (3, h, w), and which pixels hold data, bool (h, w); None where all do.
        """
        scaled: dict[str, Any] = {}
        if size_hw is not None:
            palette = self._table is not None and self._table.ndim == 2
            how = rasterio().enums.Resampling
            scaled = {"out_shape": (len(self.numbers), *size_hw), "resampling": how.nearest if palette else how.average}
        values = dataset.read(self.numbers, window=window, **scaled)
        valid = None
        if self._masked:
            shape = {"out_shape": size_hw} if size_hw is not None else {}
            valid = dataset.read_masks(self.numbers[0], window=window, **shape) != 0
        elif self._nodata is not None:
            valid = ~np.logical_and.reduce([band == none for band, none in zip(values, self._nodata, strict=True)])
        return self._rgb(values), None if valid is None or valid.all() else valid

    def _rgb(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """(1 or 3, h, w) -> uint8 (3, h, w)."""
        if self._table is not None:
            table = self._table
            values = table[values.astype(np.int32) - self._first] if self._first else table[values]
            if values.ndim == 4:  # a palette: (1, h, w, 3)
                values = np.moveaxis(values[0], -1, 0)
        return np.broadcast_to(values, (3, *values.shape[1:]))


def _chosen(dataset: Any, given: Sequence[int] | None) -> list[int]:
    if given:
        if max(given) > dataset.count:
            raise TileError(f"--bands {','.join(map(str, given))}: the image has {dataset.count} bands")
        return list(given)
    colours = [colour.name for colour in dataset.colorinterp]
    if {"red", "green", "blue"} <= set(colours):
        return [colours.index(name) + 1 for name in ("red", "green", "blue")]
    plain = [number for number, name in enumerate(colours, 1) if name != "alpha"]
    if len(plain) == 2 or not plain:
        raise TileError(f"{len(plain)} bands, expected 1 (grey) or 3 and more; pass --bands with one or three numbers")
    return plain[:3] if len(plain) >= 3 else plain


def _table(dataset: Any, numbers: Sequence[int], scale_16bit: tuple[float, float] | None) -> NDArray[np.uint8] | None:
    """From values to 8 bits, uint8 (values,), or of a palette (256, 3); None where they are what they shall be."""
    kinds = {dataset.dtypes[number - 1] for number in numbers}
    kind = kinds.pop()
    if kinds or kind not in ("uint8", *_16BIT):
        raise TileError(f"{kind} values, expected 8-bit unsigned, or 16-bit with --scale-16bit; convert the image")
    if len(numbers) == 1 and dataset.colorinterp[numbers[0] - 1].name == "palette":
        palette = np.zeros((256, 3), np.uint8)
        for index, colour in dataset.colormap(numbers[0]).items():
            palette[index] = colour[:3]
        return palette
    bits = int(dataset.tags(numbers[0], ns="IMAGE_STRUCTURE").get("NBITS", 16 if kind in _16BIT else 8))
    white_is_0 = _white_is_0(dataset, numbers, bits)
    if kind in _16BIT:
        if bits != 16:  # OpenCV stretches them to 16 bits, GDAL does not: one MIN,MAX would mean two things
            raise TileError(f"{bits}-bit values, expected 8 or 16 bits; write it with gdal_translate -co NBITS=16")
        if scale_16bit is None:
            raise TileError(
                "16-bit values, expected 8-bit; give --scale-16bit MIN,MAX: the values that become 0 and 255"
            )
        return table_16bit(scale_16bit, first=-32768 if kind == "int16" else 0)
    return _grey_table(bits, white_is_0) if bits < 8 or white_is_0 else None


def _white_is_0(dataset: Any, numbers: Sequence[int], bits: int) -> bool:
    """Whether the values are those of a negative, which TIFF allows for one band of grey; GDAL leaves it to us to turn them round."""
    if dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") != "YES" or 1 not in numbers:
        return False
    if len(numbers) > 1 or bits > 8:
        raise TileError(
            f"white is stored as 0 (MINISWHITE) in {len(numbers)} bands of {bits} bits, expected that of one band of up to 8 bits; "
            "write it with black as 0"
        )
    return True


def _grey_table(bits: int, white_is_0: bool) -> NDArray[np.uint8]:
    """uint8 (256,): values of so many bits, up to 8, stretched to 0..255."""
    top = (1 << bits) - 1
    levels = np.floor(np.minimum(np.arange(256), top) * (255 / top) + 0.5).astype(np.uint8)
    return 255 - levels if white_is_0 else levels
