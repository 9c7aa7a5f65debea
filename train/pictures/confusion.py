"""Confusion matrices: absolute and as shares of the true class; and the pairs of classes confused most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlcv.train.pictures.style import ink_on, new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_WITH_NUMBERS = 24
"""Classes up to which each cell holds its number; of more, the colours and the tables tell."""


@dataclass(frozen=True)
class Confused:
    """What is `true` and was predicted as `predicted`.

    Attributes:
        count: pixels or images.
        share: of the true class, 0..1.
    """

    true: str
    predicted: str
    count: int
    share: float


def confused_pairs(confusion: NDArray[np.int64], classes: Sequence[str], most: int = 10) -> list[Confused]:
    """The pairs with the most pixels or images, the most first; none with zero.

    Args:
        confusion: int64 (classes, classes), rows true, columns predicted.
        classes: their names.
        most: how many pairs.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    totals = confusion.sum(1)
    best = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = (divmod(int(k), len(classes)) for k in best)
    return [
        Confused(classes[t], classes[p], int(wrong[t, p]), float(wrong[t, p] / totals[t]))
        for t, p in pairs
        if wrong[t, p]
    ]


def normalised(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each row as shares of its sum: float64 (classes, classes), 0..1; nan in the row of a class that does not occur."""
    totals = confusion.sum(1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(
        confusion, totals, out=np.full(confusion.shape, np.nan), where=np.broadcast_to(totals > 0, confusion.shape)
    )
    return shares


@styled
def draw_confusion(confusion: NDArray[np.int64], classes: Sequence[str], unit: str, *, shares: bool) -> Figure:
    """The matrix as coloured cells, true classes down, predicted ones across.

    Args:
        confusion: int64 (classes, classes), rows true.
        classes: their names.
        unit: what was counted: `pixels`, `images`.
        shares: of each true class instead of numbers.
    """
    import matplotlib as mpl
    from matplotlib.colors import PowerNorm

    count, names = len(classes), [shortened(name, 22) for name in classes]
    values = normalised(confusion) if shares else confusion.astype(np.float64)
    side = min(max(5.6, 2.4 + 0.62 * count), 13.5)
    figure = new_figure(side + 1.2, side)
    axes = figure.subplots()
    largest = 1.0 if shares else max(1.0, float(values.max()))
    # counts lie far apart, and so do shares of many classes: the root lets the small ones be seen
    straight = shares and count <= _MOST_WITH_NUMBERS
    norm = PowerNorm(1.0 if straight else 0.5, vmin=0, vmax=largest)
    colours = mpl.colormaps["Blues"].with_extremes(bad="#e8e8e4")
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm)
    size = 11 if count <= _MOST_WITH_NUMBERS else max(6.5, min(11, 430 / count))
    axes.set_xticks(range(count), names, rotation=90 if count > 8 else 40, fontsize=size)
    if count <= 8:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names, fontsize=size)
    axes.grid(visible=False)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"Confusion, {'share of each true class' if shares else unit}", loc="left", fontweight="bold")
    bar = figure.colorbar(image, shrink=0.75, pad=0.02)
    said = f"share of the true class's {unit} (0 to 1)" if shares else unit
    bar.set_label(said if straight else f"{said} (scale by square root)")
    if not shares:
        bar.ax.yaxis.set_major_formatter(lambda value, _: short_number(value))
    if count <= _MOST_WITH_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if value > 0:
                text = (f"{value:.2f}" if value >= 0.005 else "<.01") if shares else short_number(value)
                red, green, blue, _ = colours(norm(value))
                axes.text(column, row, text, ha="center", va="center", fontsize=10 if count <= 10 else 8, color=ink_on((red, green, blue)))  # fmt: skip
    return figure


def short_number(value: float) -> str:
    """At most four characters of digits: 950, 1.2k, 13k, 4.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.1f}{letter}" if value < 9.95 * size else f"{value / size:.0f}{letter}"
    return f"{value:.0f}"
