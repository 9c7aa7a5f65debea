"""A value a class."""

from __future__ import annotations

import math
from itertools import pairwise

from dlcv.train.pictures.classes import draw_classes, draw_classes_of_runs
from dlcv.train.pictures.style import png_bytes

CLASSES = ("road", "sea", "_odd $x^$", "a name that is much longer than the room there is")


def test_the_best_class_stands_on_top_and_an_absent_one_says_so() -> None:
    axes = draw_classes(CLASSES, (0.3, math.nan, 0.9, 0.5), "IoU", 0.5667).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "_odd $x^$", "a name that i\N{HORIZONTAL ELLIPSIS} room there is", "road", "sea",
    ]  # fmt: skip
    assert [text.get_text() for text in axes.texts] == ["0.900", "0.500", "0.300", "does not occur", "mean 0.567 "]
    assert [round(bar.get_width(), 3) for bar in axes.patches] == [0.9, 0.5, 0.3, 0]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is the top one"
    assert axes.get_xlabel() == "IoU on validation (0 to 1)"


def test_a_row_a_class_and_a_point_a_run() -> None:
    runs = {"plain": (0.3, 0.5, math.nan, 0.1), "_weighted": (0.6, 0.5, 0.2, math.nan)}
    figure = draw_classes_of_runs(CLASSES, runs, "recall")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["sea", "road"]
    points = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [list(line.get_xdata())[:2] for line in points] == [[0.5, 0.3], [0.5, 0.6]]
    first, second = (line.get_ydata()[0] for line in points)
    assert first != second, "equal values do not hide each other"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["plain", "_weighted"]


def test_forty_five_classes_fit() -> None:
    classes = [f"class number {k}" for k in range(45)]
    figure = draw_classes(classes, [k / 45 for k in range(45)], "recall")
    assert png_bytes(figure).startswith(b"\x89PNG")
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(not a.overlaps(b) for a, b in pairwise(boxes)), "no name over another"
