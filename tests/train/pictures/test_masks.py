"""Masks beside image and truth."""

from __future__ import annotations

import numpy as np

from dlcv.train.pictures.masks import TileMasks, coloured, draw_masks
from dlcv.train.pictures.style import png_bytes

PALETTE = ((255, 0, 0), (0, 0, 255))


def tile(name: str, *headings: str) -> TileMasks:
    image = np.full((8, 12, 3), 90, np.uint8)
    return TileMasks(name, image, {heading: np.full((8, 12), k % 2, np.uint8) for k, heading in enumerate(headings)})


def test_a_mask_in_its_colours() -> None:
    mask = np.array([[0, 1], [1, 200]], np.uint8)
    assert coloured(mask, PALETTE).tolist() == [[[255, 0, 0], [0, 0, 255]], [[0, 0, 255], [0, 0, 0]]]


def test_a_row_a_tile_and_a_column_a_heading() -> None:
    figure = draw_masks([tile("a", "truth", "epoch 1"), tile("_b$", "truth")], ("land", "_sea"), PALETTE)
    assert [axes.get_title() for axes in figure.axes] == ["image", "truth", "epoch 1", "", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["a", "_b$"]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 1, 0], "what a tile lacks is left blank"
    assert np.asarray(figure.axes[2].images[0].get_array())[0, 0].tolist() == [0, 0, 255]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["land", "_sea"]
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_a_large_tile_is_drawn_small() -> None:
    large = TileMasks("large", np.zeros((3000, 1500, 3), np.uint8), {"truth": np.zeros((3000, 1500), np.uint8)})
    axes = draw_masks([large], ("land",), PALETTE[:1]).axes
    assert np.shape(axes[0].images[0].get_array())[:2] == (384, 192)
    assert np.shape(axes[1].images[0].get_array())[0] <= 384
