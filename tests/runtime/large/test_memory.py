"""Memory is bounded: it does not grow with an image's height, and by little with its width."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COLUMN_BYTES = 16 * 1024
"""Of memory for a column of the image: three strips of 512 rows in RGB, two of the mask, and the overlaps' sums."""

CODE = """
import resource, sys
from pathlib import Path
import numpy as np
from affine import Affine
from dlcv.runtime.answers import probs_of
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.large.flow import TilePipeline
from dlcv.runtime.raster.library import rasterio
from dlcv.runtime.large.run import LargeSettings
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.tiles.tile_list import Tile
from dlcv.runtime.work.tile_work import TileWork

height, width, path = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
with rasterio().open(path, "w", driver="GTiff", height=height, width=width, count=3, dtype="uint8", tiled=True,
                     blockxsize=512, blockysize=512, compress="deflate", sparse_ok=True, crs="EPSG:32640",
                     transform=Affine(0.5, 0, 325000, 0, -0.5, 2790000)) as file:
    block = np.random.default_rng(0).integers(0, 255, (3, 512, 512), dtype=np.uint8)
    for k in range(0, min(height, width) - 512, 2048):
        file.write(block, window=rasterio().windows.Window(k, k, 512, 512))


class StandIn(Session):
    card = ModelCard(
        model="stand-in", task="segmentation", classes=("dark", "bright"), palette=((0, 0, 0), (255, 255, 255)),
        input_size_hw=(512, 512), mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="probs",
    )
    parallel = 2

    def _run(self, images):
        probs = np.empty((len(images), 2, 512, 512), np.float32)
        np.multiply(images[..., 0], np.float32(1 / 255), out=probs[:, 1])
        np.subtract(1, probs[:, 1], out=probs[:, 0])
        return {"probs": probs}


def report(outcome):
    assert outcome.error is None, outcome.error
    assert outcome.result.pixels.sum() == height * width
    assert outcome.result.pixels[1] > 0


TilePipeline(
    StandIn(), None, None, PipelineSettings(batch=2, decoders=2, writers=2), answers=probs_of, large=LargeSettings(),
    mask_path=lambda tile: path.with_suffix(".mask.tif"), written=lambda tile, written: written,
).run([TileWork.of(Tile(path, path.name, large=True))], report)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_bytes(height: int, width: int, folder: Path) -> int:
    command = [sys.executable, "-c", CODE, str(height), str(width), str(folder / f"{height}x{width}.tif")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_peak_memory(tmp_path: Path) -> None:
    small = peak_bytes(5_000, 5_000, tmp_path)
    tall = peak_bytes(20_000, 5_000, tmp_path)
    large = peak_bytes(20_000, 20_000, tmp_path)
    print(small >> 20, tall >> 20, large >> 20)
    # GDAL's cache (64 MB) and its overviews' buffers are not yet full at 5,000 rows
    assert tall - small <= 100 << 20
    # whole, it would hold 1.5 GB more: 375 million pixels in RGB and in the mask
    assert large - small <= 100 * 2**20 + 15_000 * COLUMN_BYTES
