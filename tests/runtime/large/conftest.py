"""GeoTIFFs with made-up georeferences, and a session that stands in for an engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    WriteGeo = Callable[..., Path]

UTM, ORIGIN = "EPSG:32640", (325_000.0, 2_790_000.0)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without rasterio (the lean installation) there is nothing to test here, but for what happens without it."""
    if importlib.util.find_spec("rasterio") is None and collection_path.name.startswith("test_"):
        return True
    return None


@pytest.fixture(scope="session")
def write_geo() -> WriteGeo:
    """Writes uint8 or uint16 (h, w, bands) or (h, w) as a GeoTIFF: a pixel is half a metre in UTM zone 40N, or as `profile` says."""

    def write(path: Path, image: NDArray[np.integer[Any]], **profile: Any) -> Path:
        from affine import Affine

        from dlcv.runtime.large.library import rasterio

        bands = image[..., None] if image.ndim == 2 else image
        given = {
            "driver": "GTiff", "height": bands.shape[0], "width": bands.shape[1], "count": bands.shape[2],
            "dtype": bands.dtype.name, "crs": UTM, "transform": Affine(0.5, 0, ORIGIN[0], 0, -0.5, ORIGIN[1]), **profile,
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio().open(path, "w", **given) as file:
            file.write(bands.transpose(2, 0, 1))
        return path

    return write
