"""What tests of the runtime share beside `tests/conftest.py`: a tiny classifier and tiles of its classes, a session that is none, GeoTIFFs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dlcv.runtime.run.inference import Summary

    WriteGeo = Callable[..., Path]
    WriteTile = Callable[[Path, NDArray[np.uint8]], None]

UTM, ORIGIN = "EPSG:32640", (325_000.0, 2_790_000.0)
OF_RASTERIO = ("large", "raster")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without rasterio (the lean installation) there is nothing to test of large images, but for what happens without it."""
    if importlib.util.find_spec("rasterio") is None and collection_path.parent.name in OF_RASTERIO:
        return True
    return None


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Where `run` writes."""
    return tmp_path / "masks"


@pytest.fixture
def run(tiny_onnx: Path, masks: Path) -> Callable[..., Summary]:
    """`infer` into `masks`; the keywords are those of `InferSettings`."""
    from infer_runs import infer_into

    return infer_into(masks, tiny_onnx)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Where `classify` writes."""
    return tmp_path / "predictions"


@pytest.fixture
def classify(colour_engine: Path, predictions: Path) -> Callable[..., Summary]:
    """`infer` with the tiny classifier into `predictions`; the keywords are those of `InferSettings`."""
    from infer_runs import infer_into

    return infer_into(predictions, colour_engine)


@pytest.fixture(scope="session")
def colours() -> Any:
    """The module `colour_engine.py`: the classifier's card, its tiles, and what it must say about them."""
    import colour_engine

    return colour_engine


@pytest.fixture(scope="session")
def stand_in() -> Any:
    """The module `stand_in.py`: a session that needs no engine."""
    import stand_in

    return stand_in


@pytest.fixture(scope="session")
def colour_engine(tmp_path_factory: pytest.TempPathFactory, colours: Any) -> Path:
    """An .onnx: uint8 (N, 32, 32, 3) -> probs float32 (N, 4); where onnx is not installed, the one that was kept."""
    if importlib.util.find_spec("onnx") is None:
        folder = os.environ.get("DLCV_TINY")
        if not folder:
            pytest.skip("onnx is not installed, and DLCV_TINY names no folder that tests/lean/test_keep.py filled")
        return Path(folder) / "graphs" / "classifier.onnx"
    path: Path = colours.write_colour_engine(tmp_path_factory.mktemp("colour-engine") / "classifier.onnx")
    return path


@pytest.fixture
def colour_folder(tmp_path: Path, colours: Any, write_tile: WriteTile) -> Path:
    """Tiles of known classes: red.png, green.png, sub/blue.png, sub/grey.png, and wide.png, 40 x 90, red."""
    folder = tmp_path / "colours"
    for seed, name in enumerate(("red", "green", "sub/blue", "sub/grey")):
        write_tile(folder / f"{name}.png", colours.colour_tile(name.split("/")[-1], seed))
    write_tile(folder / "wide.png", colours.colour_tile("red", 9, (40, 90)))
    return folder


@pytest.fixture(scope="session")
def write_geo() -> WriteGeo:
    """Writes uint8 or uint16 (h, w, bands) or (h, w) as a GeoTIFF: a pixel is half a metre in UTM zone 40N, or as `profile` says."""

    def write(path: Path, image: NDArray[np.integer[Any]], **profile: Any) -> Path:
        from affine import Affine

        from dlcv.runtime.raster.library import rasterio

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
