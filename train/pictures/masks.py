"""Masks of a few tiles beside image and truth: what a model said early, in the middle and at the end."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlcv.train.pictures.style import new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Palette = Sequence[tuple[int, int, int]]
_PANEL_IN = 2.4
_SIDE = 384
"""Pixels of a panel's longer side that are drawn; more would only make the file large."""


@dataclass(frozen=True)
class TileMasks:
    """A tile and what is said about it.

    Attributes:
        name: of the tile.
        image_rgb: uint8 (h, w, 3).
        masks: heading (`truth`, `epoch 10`) -> class indices, uint8 (h, w).
    """

    name: str
    image_rgb: NDArray[np.uint8]
    masks: dict[str, NDArray[np.uint8]]


@styled
def draw_masks(tiles: Sequence[TileMasks], classes: Sequence[str], palette: Palette) -> Figure:
    """A row a tile: its image, then its masks under their headings, and the classes' colours below.

    Args:
        tiles: at least one; a heading that a tile lacks is left blank.
        classes, palette: names and (R, G, B), 0..255, of the indices.
    """
    headings = _in_order(dict.fromkeys(heading for tile in tiles for heading in tile.masks))
    columns = 1 + len(headings)
    heights = [tile.image_rgb.shape[0] / tile.image_rgb.shape[1] for tile in tiles]  # in widths of a panel
    legend_in = 0.3 * math.ceil(len(classes) / columns)
    figure = new_figure(_PANEL_IN * columns + 0.4, _PANEL_IN * sum(heights) + 0.5 + legend_in)
    grid = figure.subplots(len(tiles), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for number, (row, tile) in enumerate(zip(grid, tiles, strict=True)):
        for axes, heading in zip(row, ("image", *headings), strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=heading == "image" or heading in tile.masks, color="#808080", linewidth=0.6)
            if number == 0:
                axes.set_title(heading)
            if heading == "image":
                axes.imshow(_smaller(tile.image_rgb))
                axes.set_ylabel(shortened(tile.name, 24), fontsize=10)
            elif heading in tile.masks:
                axes.imshow(coloured(_thinned(tile.masks[heading]), palette), interpolation="nearest")
    _legend(figure, classes, palette, columns)
    return figure


def _in_order(headings: Iterable[str]) -> list[str]:
    """The truth, then epochs by their number, then the others: tiles may have been kept at different epochs."""

    def place(heading: str) -> tuple[int, int]:
        number = re.fullmatch(r"epoch ([0-9]+)", heading)
        return (1, int(number[1])) if number else (0 if heading == "truth" else 2, 0)

    return sorted(headings, key=place)


def coloured(mask: NDArray[np.uint8], palette: Palette) -> NDArray[np.uint8]:
    """A mask in its classes' colours, uint8 (h, w, 3), RGB; black beyond the palette."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = np.array(palette, np.uint8).reshape(-1, 3)
    return table[mask]


def _smaller(image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most `_SIDE` pixels, averaged; a mask is not averaged but thinned, see `_thinned`."""
    import cv2

    scale = min(1.0, _SIDE / max(image_rgb.shape[:2]))
    return np.asarray(cv2.resize(image_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _thinned(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = math.ceil(max(pixels.shape[:2]) / _SIDE)
    return pixels[::step, ::step]


def _legend(figure: Figure, classes: Sequence[str], palette: Palette, columns: int) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=(r / 255, g / 255, b / 255), edgecolor="#808080") for r, g, b in palette]
    legend = figure.legend(patches, ["x"] * len(patches), loc="outside lower center", ncols=columns, fontsize=11)
    for text, name in zip(legend.get_texts(), classes, strict=False):
        text.set_text(shortened(name))
