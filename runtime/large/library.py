"""rasterio, loaded on first use, with the little that must be set for every use of it."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import MissingPackageError, TileError, one_line

GDAL_CACHE_BYTES = 64 << 20
"""GDAL's own default is a twentieth of the machine's memory; strips are read once, so a block is not asked for twice."""
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
        TileError: when it is none of these, or GDAL refuses it.
    """
    library = rasterio()
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        driver = next((driver for magic, driver in _DRIVERS.items() if start.startswith(magic)), None)
        if driver is None:
            raise TileError("it is no TIFF, JPEG or PNG, which are what is read by windows")
        threads = {"num_threads": "ALL_CPUS"} if driver == "GTiff" else {}
        with gdal_environment():
            return library.open(path, driver=driver, sharing=False, **threads)
    except (library.errors.RasterioError, OSError) as error:
        raise TileError(f"GDAL cannot open it: {one_line(str(error).strip())[:300]}") from error
