"""A value a class, such as its IoU: bars for one run, points side by side for several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlcv.train.pictures.style import COLOURS, MARKERS, SOFT, new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW_IN = 0.27
_ABSENT = "does not occur"
_PLAIN: Any = {"facecolor": "white", "edgecolor": "none", "pad": 1}
"""Behind a number, so that no line runs through it."""


@styled
def draw_classes(classes: Sequence[str], values: Sequence[float], name: str, mean: float = math.nan) -> Figure:
    """Bars of one run, the best class on top.

    Args:
        classes: their names.
        values: 0..1 each, nan for a class that does not occur.
        name: of the value: `IoU`, `recall`.
        mean: drawn as a line; nan draws none.
    """
    order = sorted(
        range(len(classes)), key=lambda k: (math.isnan(values[k]), -values[k] if values[k] == values[k] else 0)
    )
    figure = new_figure(8, 1.5 + _ROW_IN * 1.25 * len(classes))
    axes = figure.subplots()
    lengths = [0.0 if math.isnan(values[k]) else values[k] for k in order]
    axes.barh(range(len(order)), lengths, height=0.72, color=COLOURS[0])
    for row, k in enumerate(order):
        text = _ABSENT if math.isnan(values[k]) else f"{values[k]:.3f}"
        axes.text(
            lengths[row] + 0.01,
            row,
            text,
            va="center",
            fontsize=10.5,
            bbox=_PLAIN,
            color=SOFT if text == _ABSENT else "black",
        )
    axes.set_yticks(range(len(order)), [shortened(classes[k]) for k in order])
    _finish(figure, name, len(order), -1.35)
    if math.isfinite(mean):
        axes.axvline(mean, color=COLOURS[1], linestyle="--", linewidth=1.6)
        axes.text(mean, -0.9, f"mean {mean:.3f} ", ha="right" if mean > 0.5 else "left", va="center", color=COLOURS[1])
    return figure


@styled
def draw_classes_of_runs(classes: Sequence[str], runs: Mapping[str, Sequence[float]], name: str) -> Figure:
    """A row a class with a point a run; classes in the order of the first run's values.

    Args:
        classes: their names.
        runs: name of a run -> as `values` of `draw_classes`.
        name: of the value.
    """
    from matplotlib.lines import Line2D

    first = next(iter(runs.values()))
    order = sorted(range(len(classes)), key=lambda k: (math.isnan(first[k]), -first[k] if first[k] == first[k] else 0))
    figure = new_figure(8, 1.9 + _ROW_IN * 1.35 * len(classes) + 0.25 * math.ceil(len(runs) / 2))
    axes = figure.subplots()
    for row, k in enumerate(order):
        known = [values[k] for values in runs.values() if math.isfinite(values[k])]
        if known:
            axes.plot([min(known), max(known)], [row, row], color="#c9c9c4", linewidth=2.5, zorder=1)
    handles = []
    for number, values in enumerate(runs.values()):
        look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        look |= {"linestyle": "", "markersize": 9}
        aside = 0.5 * (number + 0.5) / len(runs) - 0.25  # equal values stay in sight
        axes.plot(
            [values[k] for k in order],
            [row + aside for row in range(len(order))],
            markeredgecolor="white",
            clip_on=False,
            **look,
        )
        handles.append(Line2D([], [], **look))
    axes.set_yticks(range(len(order)), [shortened(classes[k]) for k in order])
    _finish(figure, name, len(order), -0.7)
    legend = figure.legend(handles, ["x"] * len(runs), loc="outside lower center", ncols=2, fontsize=11)
    for text, run in zip(legend.get_texts(), runs, strict=True):
        text.set_text(shortened(run, 40))
    return figure


def _finish(figure: Figure, name: str, rows: int, top: float) -> None:
    axes = figure.axes[0]
    axes.set_title(f"{name[0].upper()}{name[1:]} of each class", loc="left", fontweight="bold")
    axes.set_xlabel(f"{name} on validation (0 to 1)")
    axes.set_xlim(0, 1.08)
    axes.set_ylim(rows - 0.4, top)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.grid(visible=False, axis="y")
