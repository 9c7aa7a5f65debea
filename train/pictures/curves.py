"""Losses and scores over the epochs, of one run or of several on one plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlcv.train.pictures.style import COLOURS, MARKERS, SOFT, new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOG_FROM = 30
"""A loss axis is logarithmic when its largest value is so many times the median: one bad epoch would flatten the rest."""


@dataclass(frozen=True)
class Curves:
    """A run's history, a value an epoch each; nan where there is none.

    Attributes:
        name: of the run.
        epochs: from 1.
        train_loss, validation_loss: mean losses.
        score: on validation, 0..1.
        train_score: the same on training images; empty where it was not measured.
        score_name: `mean IoU`, `accuracy`.
        majority: score of the predictor that always says the commonest class; nan where it is not known.
    """

    name: str
    epochs: Sequence[int]
    train_loss: Sequence[float]
    validation_loss: Sequence[float]
    score: Sequence[float]
    train_score: Sequence[float]
    score_name: str
    majority: float = math.nan

    def best(self) -> tuple[int, float] | None:
        """Epoch and value of the best score; the first of equal ones, None where none is a number."""
        known = [(value, -epoch) for epoch, value in zip(self.epochs, self.score, strict=True) if math.isfinite(value)]
        return (-max(known)[1], max(known)[0]) if known else None


@styled
def draw_curves(runs: Sequence[Curves]) -> Figure:
    """Losses on the left, scores on the right; validation is solid, training dashed."""
    figure = new_figure(12, 4.8 if len(runs) == 1 else 5.0 + 0.22 * math.ceil(len(runs) / 3))
    left, right = figure.subplots(1, 2)
    for number, run in enumerate(runs):
        _draw_run(left, right, run, number, alone=len(runs) == 1)
    _finish_axes(left, runs, "Loss", "mean loss")
    name = runs[0].score_name
    _finish_axes(right, runs, name[0].upper() + name[1:], f"{name} (0 to 1)")
    _scale_loss(left, runs)
    if len(runs) == 1:
        for axes in (left, right):
            axes.legend(loc="best", fontsize=10.5)
    else:
        _legend_of_runs(figure, left, runs)
    return figure


def _draw_run(left: Axes, right: Axes, run: Curves, number: int, *, alone: bool) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    training = COLOURS[1] if alone else colour
    every = max(1, len(run.epochs) // 12)  # markers tell runs apart, but not at each of 200 epochs
    solid: dict[str, Any] = {"color": colour, "marker": marker, "markevery": every}
    dashed: dict[str, Any] = {
        "color": training,
        "linestyle": (0, (4, 2)),
        "linewidth": 1.6,
        "marker": marker,
        "markevery": every,
    }
    dashed |= {"markerfacecolor": "white"}
    left.plot(run.epochs, run.train_loss, label="training", **dashed)
    left.plot(run.epochs, run.validation_loss, label="validation", **solid)
    if any(map(math.isfinite, run.train_score)):
        right.plot(run.epochs, run.train_score, label="training", **dashed)
    right.plot(run.epochs, run.score, label="validation", **solid)
    if (best := run.best()) is not None:
        text = f"best: {best[1]:.3f}, epoch {best[0]}" if alone else None
        right.plot(*best, marker="*", markersize=15, color=colour, markeredgecolor="white", linestyle="", label=text)
    if alone and math.isfinite(run.majority):
        right.axhline(run.majority, color=SOFT, linewidth=1.2, linestyle=":", label=f"commonest class only: {run.majority:.3f}")  # fmt: skip


def _finish_axes(axes: Axes, runs: Sequence[Curves], title: str, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    last = max((epoch for run in runs for epoch in run.epochs), default=1)
    axes.set_xlim(1 - 0.04 * last, last + 0.04 * last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _scale_loss(axes: Axes, runs: Sequence[Curves]) -> None:
    values = sorted(v for run in runs for v in (*run.train_loss, *run.validation_loss) if math.isfinite(v))
    if values and values[0] > 0 and values[-1] > _LOG_FROM * values[len(values) // 2]:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
        axes.set_ylabel("mean loss (logarithmic)")


def _legend_of_runs(figure: Figure, axes: Axes, runs: Sequence[Curves]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)]) for k in range(len(runs))
    ]
    names = [shortened(run.name) for run in runs]
    handles += [
        Line2D([], [], color=SOFT),
        Line2D([], [], color=SOFT, linestyle=(0, (4, 2)), linewidth=1.6),
        Line2D([], [], color=SOFT, marker="*", markersize=13, linestyle=""),
    ]
    names += ["validation", "training", "best epoch"]
    legend = figure.legend(handles, ["x"] * len(names), loc="outside lower center", ncols=3, fontsize=11)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)  # only now: a label that begins with `_` would be left out
