"""Confusion matrices small enough to check by eye."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from dlcv.train.pictures.confusion import Confused, confused_pairs, draw_confusion, normalised, short_number
from dlcv.train.pictures.style import png_bytes

MATRIX = np.array([[6, 3, 1], [0, 4, 1], [0, 0, 0]], np.int64)
CLASSES = ("road", "sea", "snow")


def test_the_pairs_confused_most_come_first() -> None:
    assert confused_pairs(MATRIX, CLASSES) == [
        Confused("road", "sea", 3, 0.3), Confused("road", "snow", 1, 0.1), Confused("sea", "snow", 1, 0.2),
    ]  # fmt: skip
    assert [pair.count for pair in confused_pairs(MATRIX, CLASSES, most=1)] == [3]
    assert confused_pairs(np.diag([3, 2, 1]), CLASSES) == []


def test_shares_are_of_the_true_class() -> None:
    shares = normalised(MATRIX)
    assert shares[0].tolist() == [0.6, 0.3, 0.1]
    assert np.isnan(shares[2]).all(), "a class that does not occur has no shares"


@pytest.mark.parametrize(
    ("shares", "cells", "bar"),
    [
        (False, ["6", "3", "1", "4", "1"], "pixels (scale by square root)"),
        (True, ["0.60", "0.30", "0.10", "0.80", "0.20"], "share of the true class's pixels (0 to 1)"),
    ],
)
def test_cells_hold_their_numbers(shares: bool, cells: list[str], bar: str) -> None:
    figure = draw_confusion(MATRIX, CLASSES, "pixels", shares=shares)
    axes, colours = figure.axes
    assert [text.get_text() for text in axes.texts] == cells
    assert (axes.get_xlabel(), axes.get_ylabel(), colours.get_ylabel()) == ("predicted class", "true class", bar)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASSES)


def test_forty_five_long_names_do_not_overlap() -> None:
    classes = [f"a class of a long name, {k}" for k in range(45)]
    figure = draw_confusion(np.arange(45 * 45).reshape(45, 45), classes, "images", shares=True)
    assert not figure.axes[0].texts, "numbers would not be legible"
    assert figure.axes[1].get_ylabel().endswith("(scale by square root)"), "small shares are seen by their colour"
    assert png_bytes(figure).startswith(b"\x89PNG")
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert len(labels) == 45
        assert len({label.get_text() for label in labels}) == 45, "shortened names still tell classes apart"
        boxes = [label.get_window_extent() for label in labels]
        assert all(not a.overlaps(b) for a, b in pairwise(boxes))


def test_nothing_counted_can_be_drawn() -> None:
    assert png_bytes(draw_confusion(np.zeros((2, 2), np.int64), CLASSES[:2], "images", shares=False))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.6, "1.0k"), (1234, "1.2k"), (9960, "10k"), (4.5e6, "4.5M"), (2.1e9, "2.1G")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize("count", [2, 9, 21])
def test_nothing_is_cut_off_at_the_edge(count: int) -> None:
    classes = [f"a class of a long name, {k}" for k in range(count)]
    png = png_bytes(draw_confusion(np.ones((count, count), np.int64), classes, "images", shares=True))
    with Image.open(BytesIO(png)) as image:
        pixels = np.asarray(image.convert("L"))
    for edge in (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:]):
        assert edge.min() > 250, "white"
