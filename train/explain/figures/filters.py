"""Filters: the input found for each, beside the images that activate it most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlcv.train.explain.figures.panel import LONGEST_NAME, TEXT_PT, show
from dlcv.train.explain.receptive import patch_box
from dlcv.train.pictures.style import new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SHOWN = 32
"""Pixels of the side of what is shown of an image; what the unit sees of it is framed where that is less."""

FRAME = "#E69F00"


@dataclass(frozen=True)
class Hit:
    """An image that activates a filter.

    Attributes:
        name: of the image.
        image: uint8 (H, W, 3), RGB.
        place: middle of the unit, from the top and the left, as shares of the sides.
        activation: there.
    """

    name: str
    image: NDArray[np.uint8]
    place: tuple[float, float]
    activation: float


@dataclass(frozen=True)
class FilterRow:
    """What is shown of one filter.

    Attributes:
        label: of the filter.
        found: uint8 (S, S, 3), RGB: the input that was found for it.
        activation: the highest in its map on that.
        hits: the images that activate it most.
    """

    label: str
    found: NDArray[np.uint8]
    activation: float
    hits: Sequence[Hit]


@styled
def filters_figure(rows: Sequence[FilterRow], field_hw: tuple[int, int] | None, title: str) -> Figure:
    """A row a filter; the number below a panel is its activation.

    Args:
        field_hw: what a unit of the layer sees, in pixels; None for the whole image.
    """
    columns = 1 + max(len(row.hits) for row in rows)
    figure = new_figure(max(5.5, 1.35 * columns + 0.4), 0.75 + 1.55 * len(rows))
    figure.suptitle(title, fontsize=TEXT_PT + 1)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for number, row in enumerate(rows):
        show(axes[number, 0], row.found, "found" if number == 0 else "", f"{row.activation:.3g}")
        axes[number, 0].set_ylabel(shortened(row.label, LONGEST_NAME), fontsize=TEXT_PT)
        for place in range(1, columns):
            if place > len(row.hits):
                axes[number, place].axis("off")
            else:
                _draw(axes[number, place], row.hits[place - 1], field_hw, f"image {place}" if number == 0 else "")
    return figure


def _draw(axes: Axes, hit: Hit, field_hw: tuple[int, int] | None, title: str) -> None:
    from matplotlib.patches import Circle, Rectangle

    size_hw = (hit.image.shape[0], hit.image.shape[1])
    shown_hw = None if field_hw is None else (max(field_hw[0], LEAST_SHOWN), max(field_hw[1], LEAST_SHOWN))
    top, left, bottom, right = patch_box(hit.place, shown_hw, size_hw)
    show(axes, hit.image[top:bottom, left:right], title, f"{hit.activation:.3g}")
    if field_hw is None:
        radius = max(size_hw) / 16
        y, x = (share * side - 0.5 for share, side in zip(hit.place, size_hw, strict=True))
        if hit.place != (0.5, 0.5):  # of a map of one unit that is no place
            axes.add_patch(Circle((x, y), radius, fill=False, edgecolor=FRAME, linewidth=1.8))
    elif shown_hw != field_hw:
        y0, x0, y1, x1 = patch_box(hit.place, field_hw, size_hw)
        corner = (x0 - left - 0.5, y0 - top - 0.5)
        axes.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=FRAME, linewidth=1.8))
