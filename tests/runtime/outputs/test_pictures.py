"""Sheets of pictures, on arrays small enough to check by eye."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dlcv.runtime.errors import OutputError
from dlcv.runtime.outputs.pictures import GAP, TITLE_HEIGHT, colour_mask, legend, side_by_side, write_picture

PALETTE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def test_colour_mask() -> None:
    mask = np.array([[0, 1], [2, 9]], np.uint8)
    assert colour_mask(mask, PALETTE).tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]]


def test_side_by_side_puts_every_picture_where_its_title_is() -> None:
    rows = [[np.full((20, 60, 3), 10 * (3 * r + c), np.uint8) for c in range(3)] for r in range(2)]
    sheet = side_by_side(rows, ["image", "truth", "it"])
    assert sheet.shape == (TITLE_HEIGHT + 2 * (20 + GAP), 3 * (60 + GAP) - GAP, 3)
    for r in range(2):
        for c in range(3):
            y, x = TITLE_HEIGHT + r * (20 + GAP), c * (60 + GAP)
            assert (sheet[y : y + 20, x : x + 60] == 10 * (3 * r + c)).all()
    assert (sheet[TITLE_HEIGHT:, 60 : 60 + GAP] == 255).all(), "the gap is paper"
    for c in range(3):
        assert sheet[:TITLE_HEIGHT, c * (60 + GAP) : c * (60 + GAP) + 60].min() < 100, "a title is written"


@pytest.mark.parametrize(("width", "lines"), [(400, 1), (90, 3)])
def test_legend_breaks_lines_and_shows_every_colour(width: int, lines: int) -> None:
    strip = legend(width, ["red", "green", "blue"], PALETTE)
    assert strip.shape == (28 * lines, width, 3)
    for colour in PALETTE:
        assert (strip == colour).all(-1).sum() > 100


def test_write_picture(tmp_path: Path) -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / "p.png", picture)
    assert (cv2.imread(str(tmp_path / "p.png"))[..., 2] == 200).all(), "red in RGB is red in the file"
    with pytest.raises(OutputError, match=r"expected a name that ends in \.png or \.jpg"):
        write_picture(tmp_path / "p.xyz", picture)
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
