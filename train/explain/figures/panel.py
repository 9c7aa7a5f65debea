"""An image in a figure, with a line above and one below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALL = 128
"""Pixels of the side of an image that is enlarged in its panel."""

TEXT_PT = 11
"""At the pictures' resolution 17 pixels: 8 at half size."""

LONGEST_NAME = 16
"""Characters that fit above a panel."""


def show(axes: Axes, image: Any, title: str = "", below: str = "", **options: Any) -> None:
    """An image without ticks, in a thin frame."""
    # enlarged pixels stay pixels, which is honest and makes a small file
    options.setdefault("interpolation", "nearest" if max(image.shape[:2]) <= SMALL else "auto")
    axes.imshow(image, **options)
    frame(axes)
    axes.set_title(title, fontsize=TEXT_PT)
    axes.set_xlabel(below, fontsize=TEXT_PT)


def frame(axes: Axes) -> None:
    """No ticks, and all four sides."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#808080", linewidth=0.6)
