"""Where masks go: their names, what is counted, and what is there already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import OutputError, TileError
from dlcv.runtime.outputs.mask_folder import FEW_CLASSES, MaskFolder, class_pixels
from dlcv.runtime.tiles.tile_list import Tile

CARD = ModelCard(
    model="m", task="segmentation", classes=("land", "water"), palette=((0, 0, 0), (1, 1, 1)), input_size_hw=(4, 4),
    mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="mask",
)  # fmt: skip
MASK = np.array([[0, 1], [1, 1]], np.uint8)


@pytest.fixture
def tiles(tmp_path: Path) -> list[Tile]:
    found = [Tile(tmp_path / name, name) for name in ("a.jpg", "b.jpg")]
    for tile in found:
        tile.path.touch()
    return found


def test_a_mask_is_written_under_its_name_and_its_pixels_are_counted(tmp_path: Path, tiles: list[Tile]) -> None:
    with MaskFolder(tmp_path / "out", CARD, tiles, "deep/{stem}.png") as output:
        assert dict(output.names()) == {"deep/a.png": "the mask of a.jpg", "deep/b.png": "the mask of b.jpg"}
        for tile in tiles:
            assert output.note(tile, output.write(tile, MASK)) == f"deep/{tile.path.stem}.png"
    assert (tmp_path / "out/deep/b.png").exists()
    assert (output.counted, output.by_class()) == ("pixels", {"land": 2, "water": 6})


def test_what_is_left(tmp_path: Path, tiles: list[Tile]) -> None:
    (tmp_path / "out").mkdir()
    output = MaskFolder(tmp_path / "out", CARD, tiles)
    assert output.left(tiles, {}) == tiles
    for tile in tiles:
        output.write(tile, MASK)
    before = {"a.jpg": "a.jpg.png", "b.jpg": "b.jpg.png"}
    assert output.left(tiles, before) == []
    assert output.left(tiles, {"a.jpg": "a.jpg.png", "b.jpg": "other.png"}) == tiles[1:]


def test_a_name_that_is_refused_is_the_tiles_failure_and_a_folder_the_runs(tmp_path: Path, tiles: list[Tile]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").write_text("in the way")
    with pytest.raises(TileError, match="cannot make the folder"):
        MaskFolder(tmp_path / "out", CARD, tiles, "sub/{name}.png").write(tiles[0], MASK)
    with pytest.raises(OutputError, match="cannot write"):
        MaskFolder(tmp_path / "gone", CARD, tiles).write(tiles[0], MASK)


def test_pixels_of_a_mask() -> None:
    mask = np.array([[0, 1, 1], [255, 6, 1]], np.uint8)
    counts = class_pixels(mask)
    assert {k: int(n) for k, n in enumerate(counts) if n} == {0: 1, 1: 3, 6: 1, 255: 1}
    large = np.zeros((4097, 4096), np.uint8)  # above what float32 counts exactly
    large[0, :7] = 3
    counts = class_pixels(large)
    assert (counts[0], counts[3], counts.dtype) == (large.size - 7, 7, np.int64)


@pytest.mark.parametrize("classes", [1, 2, FEW_CLASSES, FEW_CLASSES + 1, 256])
def test_pixels_of_classes_are_counted(classes: int) -> None:
    mask = np.random.default_rng(classes).integers(0, classes, (37, 53), dtype=np.uint8)
    mask[0, 0] = classes - 1
    counted = class_pixels(mask)
    assert (counted.dtype, counted.shape) == (np.int64, (256,))
    np.testing.assert_array_equal(counted, np.bincount(mask.ravel(), minlength=256))
