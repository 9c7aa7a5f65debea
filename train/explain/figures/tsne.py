"""t-SNE as a scatter plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlcv.train.explain.figures.style import MARKERS, OKABE_ITO, TEXT_PT, clipped, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES = 24
"""In the legend; where there are more, the rarest share one grey."""


def tsne_figure(
    points: NDArray[np.float32],
    labels: NDArray[np.int64],
    right: NDArray[np.bool_],
    classes: Sequence[str],
    title: str,
) -> Figure:
    """Points in the plane, with colour and marker of their class; hollow where the model says another class.

    Args:
        points: float32 (n, 2).
        labels: int64 (n,), class indices.
        right: bool (n,), whether the model says so.
        classes: names.
        title: above it.
    """
    figure = new_figure(8.4, 6)
    axes = figure.add_subplot()
    present = sorted(set(labels.tolist()), key=lambda c: (-int((labels == c).sum()), c))
    shown, rest = sorted(present[:MOST_CLASSES]), present[MOST_CLASSES:]
    size = 46 if len(points) < 300 else 26
    for place, index in enumerate(shown):
        own = labels == index
        colour, marker = OKABE_ITO[place % len(OKABE_ITO)], MARKERS[place % len(MARKERS)]
        for chosen, face in ((own & ~right, "none"), (own & right, colour)):
            axes.scatter(
                points[chosen, 0],
                points[chosen, 1],
                s=size,
                marker=marker,
                facecolors=face,
                edgecolors=colour,
                linewidths=0.9,
                alpha=0.8,
            )
        axes.scatter([], [], s=60, marker=marker, color=colour, label=clipped(classes[index], 22))
    if rest:
        own = np.isin(labels, rest)
        axes.scatter(
            points[own, 0], points[own, 1], s=size / 3, color="#999999", label=f"{len(rest)} other classes", zorder=0
        )
    axes.scatter(
        [], [], s=60, marker="o", facecolors="none", edgecolors="#444444", label="hollow: the model\nsays another class"
    )
    axes.set_title(title, fontsize=TEXT_PT + 1)
    axes.set_xticks([])
    axes.set_yticks([])
    figure.legend(loc="outside right upper", fontsize=TEXT_PT, frameon=False)
    return figure
