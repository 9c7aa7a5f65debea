"""Images beside their saliency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlcv.train.explain.figures.panel import LONGEST_NAME, TEXT_PT, show
from dlcv.train.explain.saliency import Saliency
from dlcv.train.pictures.style import new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BRIGHTEST = 99.5
"""Percentile of a map that is drawn brightest, so that a few pixels do not leave the rest dark."""

COLUMNS = 6


@styled
def saliency_figure(found: Sequence[Saliency], classes: Sequence[str], title: str) -> Figure:
    """Each image above its saliency, for segmentation with the region between them."""
    segmentation = found[0].view.label.ndim == 2
    height = 3 if segmentation else 2
    columns = min(COLUMNS, len(found))
    bands = -(-len(found) // columns)
    figure = new_figure(max(5.0, 1.75 * columns), 0.5 + bands * (0.5 + 1.7 * height))
    figure.suptitle(title, fontsize=TEXT_PT + 1)
    axes = figure.subplots(bands * height, columns, squeeze=False)
    for place in range(bands * columns):
        top, column = place // columns * height, place % columns
        if place >= len(found):
            for row in range(height):
                axes[top + row, column].axis("off")
            continue
        one = found[place]
        show(axes[top, column], one.view.image, _heading(one, classes, segmentation))
        if segmentation:
            show(axes[top + 1, column], _region(one))
        brightest = float(np.percentile(one.map, BRIGHTEST)) or 1.0
        name = shortened(one.view.name, LONGEST_NAME)
        show(axes[top + height - 1, column], one.map, below=name, cmap="inferno", vmin=0, vmax=brightest)
    return figure


def _heading(one: Saliency, classes: Sequence[str], segmentation: bool) -> str:
    said = shortened(classes[one.target], LONGEST_NAME)
    if segmentation:
        return f"{said} {one.region.mean():.0%}"
    truth = int(one.view.label)
    return said if truth == one.target else f"{said}?\n(is {shortened(classes[truth], LONGEST_NAME)})"


def _region(one: Saliency) -> NDArray[np.uint8]:
    """The image, faded where its class is not predicted: uint8 (H, W, 3)."""
    faded = (one.view.image * 0.15 + 255 * 0.85).astype(np.uint8)
    return np.where(one.region[..., None], one.view.image, faded)
