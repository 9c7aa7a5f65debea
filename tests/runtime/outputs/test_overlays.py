"""Overlays, on masks small enough to check by eye."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dlcv.runtime.answers import Segmented
from dlcv.runtime.outputs.extras import Seen
from dlcv.runtime.outputs.overlays import Overlays, borders, overlay
from dlcv.runtime.tiles.tile_list import Tile

PALETTE = ((200, 0, 0), (0, 100, 0))
MASK = np.repeat(np.array([[0, 0, 0, 1, 1, 1]], np.uint8), 3, axis=0)
GREY = np.full((3, 6, 3), 100, np.uint8)


def test_colours_are_blended_and_borders_are_not() -> None:
    picture = overlay(GREY, MASK, PALETTE, alpha=0.25)
    assert picture.dtype == np.uint8
    assert picture[1].tolist() == [[125, 75, 75]] * 2 + [[200, 0, 0], [0, 100, 0]] + [[75, 100, 75]] * 2
    assert (GREY == 100).all(), "the image itself is left alone"


def test_an_index_without_a_colour_is_black() -> None:
    assert overlay(GREY, np.full((3, 6), 255, np.uint8), PALETTE, alpha=1).max() == 0


def test_borders() -> None:
    mask = np.zeros((4, 5), np.uint8)
    mask[1, 2] = 255
    expected = np.zeros((4, 5), np.uint8)
    for y, x in ((1, 2), (0, 2), (2, 2), (1, 1), (1, 3)):
        expected[y, x] = 255
    np.testing.assert_array_equal(borders(mask), expected)
    assert borders(np.full((3, 3), 7, np.uint8)).max() == 0, "the image's edge is no border"


def test_both_formats_are_written_under_the_tiles_name(tmp_path: Path) -> None:
    large = np.kron(MASK, np.ones((20, 20), np.uint8))
    image = np.full((*large.shape, 3), 100, np.uint8)
    for name in ("jpg", "png"):
        Overlays(tmp_path, PALETTE, 0.5, name).write(Tile(tmp_path / "x", "sub/x.tif"), Seen(image, Segmented(large)))
        stored = cv2.imread(str(tmp_path / f"overlays/sub/x.tif.{name}"))
        assert stored is not None
        difference = np.abs(stored[..., ::-1].astype(int) - overlay(image, large, PALETTE, 0.5))
        # PNG keeps all; JPEG at quality 88 with full colour resolution stays near even at the border
        assert difference.max() <= (0 if name == "png" else 30)
