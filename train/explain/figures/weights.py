"""The weights of a first layer as small colour images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlcv.train.explain.figures.panel import TEXT_PT, show
from dlcv.train.pictures.style import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 128


@styled
def weights_figure(weights: NDArray[np.float32], title: str) -> Figure:
    """Grey is 0; a filter that is red somewhere answers to red there. Each filter has its own scale.

    Args:
        weights: float32 (filters, 3, k, k), RGB.
        title: above it.
    """
    sheet = contact_sheet(coloured(weights[:MOST_SHOWN]))
    height, width = sheet.shape[:2]
    figure = new_figure(6.4, 0.5 + 6.4 * height / width)
    figure.suptitle(title, fontsize=TEXT_PT + 1)
    axes = figure.add_subplot()
    show(axes, sheet, interpolation="nearest")
    axes.axis("off")
    return figure


def coloured(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (n, 3, k, k) -> (n, k, k, 3), 0..1: 0.5 for a weight of 0, 0 or 1 for the largest of its filter."""
    largest = np.abs(weights).max((1, 2, 3), keepdims=True)
    scaled = 0.5 + 0.5 * weights / np.maximum(largest, np.finfo(np.float32).tiny)
    return np.ascontiguousarray(scaled.transpose(0, 2, 3, 1))


def contact_sheet(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (n, k, k, 3), 0..1 -> one image, twice as wide as high or about that, with white lines between them."""
    count, side = images.shape[:2]
    columns = min(count, int(np.ceil(np.sqrt(2 * count))))
    rows, pitch = -(-count // columns), side + 1
    sheet = np.ones((rows * pitch + 1, columns * pitch + 1, 3), np.float32)
    for number, image in enumerate(images):
        y, x = number // columns * pitch + 1, number % columns * pitch + 1
        sheet[y : y + side, x : x + side] = image
    return sheet
