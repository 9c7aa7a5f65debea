"""rasterio, loaded on first use, with the little that must be set for every use of it."""

from __future__ import annotations

import os
import struct
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from dlcv.runtime.errors import MissingPackageError, TileError, one_line

GDAL_CACHE_BYTES = 64 << 20
"""GDAL's own default is a twentieth of the machine's memory; strips are read once, so a block is not asked for twice."""
MOST_DIRECTORIES = 4096
"""Of a TIFF: an image, its masks and its smaller copies take some forty. GDAL looks at all that there are: 60,000 take it ten seconds."""
_DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
}
"""By a file's first bytes. Not GDAL's formats that lead to other files or to the network."""


def has_rasterio() -> bool:
    """Whether rasterio is installed; does not load it."""
    return find_spec("rasterio") is not None


def rasterio() -> Any:
    """The module rasterio.

    Raises:
        MissingPackageError: when it is not installed.
    """
    try:
        import rasterio
        import rasterio.shutil
    except ImportError as error:
        raise MissingPackageError(
            "rasterio", "read georeferenced and very large images", "pip install 'dlcv-edge[geo]'"
        ) from error
    # an image without a georeference is none of the user's errors; set on each call, since others may reset filters
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    return rasterio


def gdal_environment(**options: Any) -> Any:
    """A context in which GDAL's cache is bounded and nothing is looked for beside a file's own folder listing."""
    return rasterio().Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES, GDAL_TIFF_INTERNAL_MASK=True, **options)


def open_image(path: Path) -> Any:
    """A TIFF, JPEG or PNG as a dataset of rasterio.

    Raises:
        TileError: when it is none of these, has directories without end or a name that is not UTF-8, or GDAL refuses it.
    """
    library = rasterio()
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            if _DRIVERS.get(start) == "GTiff" and _has_more_directories(file, MOST_DIRECTORIES):
                raise TileError(
                    f"a TIFF of more than {MOST_DIRECTORIES} images, expected one and its smaller copies; write the first into a file of its own"
                )
        driver = next((driver for magic, driver in _DRIVERS.items() if start.startswith(magic)), None)
        if driver is None:
            raise TileError("it is no TIFF, JPEG or PNG, which are what is read by windows")
        threads = {"num_threads": "ALL_CPUS"} if driver == "GTiff" else {}
        with gdal_environment():
            return library.open(path, driver=driver, sharing=False, **threads)
    except UnicodeEncodeError as error:
        raise TileError("its name is not UTF-8, and GDAL opens no others; rename it") from error
    except (library.errors.RasterioError, OSError) as error:
        raise TileError(f"GDAL cannot open it: {gdal_reason(error)}") from error


def gdal_reason(error: BaseException) -> str:
    """What GDAL said first, as one line of at most 300 characters: rasterio's own errors lead to it, and may say no more than that."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(str(error).strip() or type(error).__name__)[:300]


def _has_more_directories(file: BinaryIO, most: int) -> bool:
    """Whether a TIFF's chain of directories is longer; one that leads in a circle, or out of the file, ends there."""
    file.seek(0)
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    number, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    seen = set[int]()
    try:
        (at,) = struct.unpack_from(order + number, head, 8 if big else 4)
        while at and at not in seen and len(seen) <= most:
            seen.add(at)
            file.seek(at)
            (entries,) = struct.unpack(order + count, file.read(struct.calcsize(count)))
            file.seek(entries * entry, os.SEEK_CUR)
            (at,) = struct.unpack(order + number, file.read(struct.calcsize(number)))
    except (struct.error, OverflowError, ValueError, OSError):  # out of the file: GDAL tells it in its own words
        pass
    return len(seen) > most
