"""t-SNE as a scatter plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlcv.train.explain.figures.panel import TEXT_PT, frame
from dlcv.train.pictures.style import COLOURS, MARKERS, new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 24
"""In the legend; where there are more, the rarest share one grey."""
LONGEST_NAME = 22
_HOLLOW = "hollow: the model\nsays another class"


@styled
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
    legend: list[tuple[Any, str]] = []
    for place, index in enumerate(shown):
        own = labels == index
        look: dict[str, Any] = {"marker": MARKERS[place % len(MARKERS)], "edgecolors": COLOURS[place % len(COLOURS)]}
        handle = _draw_class(axes, points[own & right], points[own & ~right], 46 if len(points) < 300 else 26, look)
        legend.append((handle, shortened(classes[index], LONGEST_NAME)))
    if rest:
        x, y = points[np.isin(labels, rest)].T
        legend.append((axes.scatter(x, y, s=12, color="#999999", zorder=0), f"{len(rest)} other classes"))
    legend.append((axes.scatter([], [], s=60, marker="o", facecolors="none", edgecolors="#444444"), _HOLLOW))
    axes.set_title(title, fontsize=TEXT_PT + 1)
    frame(axes)
    _draw_legend(figure, legend)
    return figure


def _draw_class(
    axes: Axes, right: NDArray[np.float32], wrong: NDArray[np.float32], size: float, look: dict[str, Any]
) -> Any:
    """A class's points; gives what stands for it in the legend."""
    colour = look["edgecolors"]
    for some, face in ((wrong, "none"), (right, colour)):
        axes.scatter(some[:, 0], some[:, 1], s=size, facecolors=face, linewidths=0.9, alpha=0.8, **look)
    return axes.scatter([], [], s=60, facecolors=colour, **look)


def _draw_legend(figure: Figure, entries: Sequence[tuple[Any, str]]) -> None:
    handles = [handle for handle, _ in entries]
    legend = figure.legend(handles, ["x"] * len(handles), loc="outside right upper", fontsize=TEXT_PT)
    for text, (_, name) in zip(legend.get_texts(), entries, strict=True):
        text.set_text(name)  # only now: a label that begins with `_` would be left out
