"""Tiles for the pipeline's benchmarks: those of a folder, or generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def tile_paths(given: Path | None, scratch: Path, count: int, size: int) -> list[Path]:
    """Paths of `count` tiles: the first of a folder, or generated scenes, JPEGs of `size` x `size`, in `scratch`.

    No two have the same name; where those of the folder do (a folder per class), links in `scratch` stand for them.
    """
    if given is not None:
        from dlcv.runtime.tiles.listing import find_tiles

        paths = [tile.path for tile in find_tiles([str(given)])][:count]
        return paths if len({path.name for path in paths}) == len(paths) else _links(paths, scratch)
    from dlcv.train.data.sample import write_sample

    write_sample(scratch, tiles=count, validation=1, size=size)
    return sorted((scratch / "train").glob("*_sat.jpg"))


def _links(paths: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    links = [folder / f"{number:06d}-{path.name}" for number, path in enumerate(paths)]
    for link, path in zip(links, paths, strict=True):
        with suppress(FileExistsError):
            link.symlink_to(path.absolute())
    return links


def many_tiles(folder: Path, count: int, side: int) -> None:
    """`count` JPEGs of `side` x `side` in ten folders, one image over and over."""
    import cv2
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", cv2.resize(noise, (side, side)))[1].tobytes()
    for number in range(count):
        path = folder / f"f{number % 10}" / f"tile{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
