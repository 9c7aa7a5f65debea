"""What is drawn: colours of weights, the legend, a figure that the size of its data does not break."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from dlcv.train.explain.figures.tsne import MOST_CLASSES, tsne_figure
from dlcv.train.explain.figures.weights import coloured, contact_sheet
from dlcv.train.pictures.style import COLOURS, MARKERS


def test_weights_are_grey_where_they_are_zero_and_fill_their_own_scale() -> None:
    weights = np.zeros((3, 3, 2, 2), np.float32)
    weights[0, 0, 0, 1], weights[0, 2, 1, 0], weights[1, 1] = 4.0, -2.0, -0.1
    images = coloured(weights)
    assert images.shape == (3, 2, 2, 3)
    assert images[0, 0, 1].tolist() == [1.0, 0.5, 0.5]
    assert images[0, 1, 0].tolist() == [0.5, 0.5, 0.25]
    assert images[1, 0, 0].tolist() == [0.5, 0.0, 0.5]
    assert (images[2] == 0.5).all()


def test_a_contact_sheet_holds_every_filter_once() -> None:
    images = np.stack([np.full((2, 2, 3), (k + 1) / 10, np.float32) for k in range(5)])
    sheet = contact_sheet(images)
    for k in range(5):
        assert (sheet == images[k, 0, 0]).all(2).sum() == 4
    assert (sheet[0] == 1).all() and (sheet[:, 0] == 1).all()


def test_every_class_of_the_legend_has_a_colour_and_marker_of_its_own() -> None:
    pairs = {(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]) for k in range(MOST_CLASSES)}
    assert len(pairs) == MOST_CLASSES


@pytest.mark.parametrize("classes", [2, 40])
def test_the_legend_names_the_classes_and_counts_the_rest(classes: int) -> None:
    labels = np.sort(np.concatenate([np.arange(classes), np.arange(classes) // 2]))
    points = np.random.default_rng(0).normal(size=(len(labels), 2)).astype(np.float32)
    figure = tsne_figure(points, labels, labels % 3 > 0, [f"class {k}" for k in range(classes)], "title")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == min(classes, MOST_CLASSES) + 1 + (classes > MOST_CLASSES)
    assert names[0] == "class 0"
    if classes > MOST_CLASSES:
        assert names[MOST_CLASSES] == f"{classes - MOST_CLASSES} other classes"


def test_the_legend_names_a_class_whatever_it_is_called() -> None:
    classes = ["_road", "$a_{$", "two\nlines", "caf\udce9", "HerbaceousVegetation-of-the-south"]
    points = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    figure = tsne_figure(points, np.arange(10) % 5, np.arange(10) % 3 > 0, classes, "title")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:-1] == ["_road", "$a_{$", "two\ufffdlines", "caf\ufffd", "Herbaceous\u2026f-the-south"]
