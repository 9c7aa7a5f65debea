"""What a case is measured on: generated scenes in memory, or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlcv.benchmarks.bench.request import Shared
from dlcv.benchmarks.bench.result import Case

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]

SCENES = 8


def images_of(case: Case) -> Images:
    """Generated scenes, `SCENES` of them over and over, uint8 (batch, H, W, 3); engines take the same time on any."""
    import numpy as np

    from dlcv.train.data.scenes import make_scene

    height, width = case.engine.input_size_hw
    scenes = [make_scene(0, index, max(height, width))[0][:height, :width] for index in range(min(case.batch, SCENES))]
    return np.ascontiguousarray(np.stack([scenes[index % SCENES] for index in range(case.batch)]))


def paths_of(case: Case, shared: Shared) -> list[Path]:
    """Tiles as files: those of `--data`, or generated ones of the engine's size, which later cases find again."""
    from dlcv.benchmarks.pipeline.scenes import tile_paths

    side = max(case.engine.input_size_hw)
    folder = shared.scratch / f"tiles-{side}"
    if shared.request.data is None and folder.exists():
        return sorted((folder / "train").glob("*_sat.jpg"))
    return tile_paths(shared.request.data, folder, shared.request.tiles, side)
