"""Masks beside image and truth."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

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


def test_epochs_stand_in_their_order_though_tiles_were_kept_at_others() -> None:
    tiles = [tile("a", "truth", "epoch 2", "best, epoch 10"), tile("b", "truth", "epoch 1", "epoch 10")]
    titles = [axes.get_title() for axes in draw_masks(tiles, ("land", "sea"), PALETTE).axes[:6]]
    assert titles == ["image", "truth", "epoch 1", "epoch 2", "epoch 10", "best, epoch 10"]


def test_a_large_tile_is_drawn_small() -> None:
    large = TileMasks("large", np.zeros((3000, 1500, 3), np.uint8), {"truth": np.zeros((3000, 1500), np.uint8)})
    axes = draw_masks([large], ("land",), PALETTE[:1]).axes
    assert np.shape(axes[0].images[0].get_array())[:2] == (384, 192)
    assert np.shape(axes[1].images[0].get_array())[0] <= 384


def test_few_colours_are_enough_for_the_classes() -> None:
    """A PNG holds 256 colours beside a photograph; those of the classes must stay apart and what they are."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, (64, 64), np.uint8).repeat(6, 0).repeat(6, 1)
    noisy = TileMasks("noise", rng.integers(0, 256, (384, 384, 3), np.uint8), {"truth": mask})
    with Image.open(BytesIO(png_bytes(draw_masks([noisy], ("land", "sea"), PALETTE)))) as image:
        assert image.mode == "P"
        counts = image.convert("RGB").getcolors(1 << 20)
    assert counts is not None
    for colour in PALETTE:
        most = max(count for count, found in counts if max(abs(a - b) for a, b in zip(found, colour)) <= 12)
        assert most > 20_000, "a quarter of the mask's panel at least is this class, as one colour"
