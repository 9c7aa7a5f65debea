"""Curves: what is on them, for one run and for several, of one epoch, with gaps."""

from __future__ import annotations

import math

import pytest

from dlcv.train.pictures.curves import Curves, draw_curves
from dlcv.train.pictures.style import png_bytes


def curves(name: str = "run", score: tuple[float, ...] = (0.2, 0.6, 0.5), *, worst: float = 2.0) -> Curves:
    epochs = range(1, len(score) + 1)
    losses = [worst, *(1 / epoch for epoch in epochs)][: len(score)]
    return Curves(name, list(epochs), losses, losses, score, [math.nan] * len(score), "mean IoU", 0.13)


def test_the_best_epoch_is_the_first_of_equal_ones_and_no_gap() -> None:
    assert curves(score=(0.2, 0.6, 0.6, math.nan)).best() == (2, 0.6)
    assert curves(score=(math.nan,)).best() is None
    assert curves(score=()).best() is None


def test_one_run_says_what_is_what() -> None:
    left, right = draw_curves([curves()]).axes
    assert [axes.get_xlabel() for axes in (left, right)] == ["epoch", "epoch"]
    assert (left.get_ylabel(), right.get_ylabel()) == ("mean loss", "mean IoU (0 to 1)")
    told = [text.get_text() for text in right.get_legend().get_texts()]
    assert told == ["validation", "best: 0.600, epoch 2", "commonest class only: 0.130"]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["training", "validation"]
    assert list(left.lines[1].get_xdata()) == [1, 2, 3]


def test_scores_on_training_images_are_drawn_where_there_are_some() -> None:
    run = curves()
    scored = Curves(
        run.name, run.epochs, run.train_loss, run.validation_loss, run.score, (0.5, math.nan, 0.7), "mean IoU"
    )
    right = draw_curves([scored]).axes[1]
    assert list(right.lines[0].get_ydata())[::2] == [0.5, 0.7]
    assert right.lines[0].get_label() == "training"


def test_several_runs_differ_in_colour_and_marker_and_keep_their_names() -> None:
    names = ["_underscore", "$x^$", "a" * 50, "d"]
    figure = draw_curves([curves(name) for name in names])
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told[:2] == names[:2], "neither left out nor read as a formula"
    assert len(told[2]) == 28
    assert told[4:] == ["validation", "training", "best epoch"]
    solid = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    assert len({line.get_color() for line in solid}) == len({line.get_marker() for line in solid}) == 4


@pytest.mark.parametrize("score", [(0.3,), (math.nan, 0.4, math.nan), (math.nan,)])
def test_short_and_broken_runs_can_be_drawn(score: tuple[float, ...]) -> None:
    figure = draw_curves([curves(score=score)])
    low, high = figure.axes[0].get_xlim()
    assert low < 1 < len(score) + 0.01 < high + 0.01
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_one_bad_epoch_does_not_flatten_the_losses() -> None:
    assert draw_curves([curves(worst=2.0)]).axes[0].get_yscale() == "linear"
    axes = draw_curves([curves(score=(0.1,) * 9, worst=900.0)]).axes[0]
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "mean loss (logarithmic)")


def test_the_same_data_gives_the_same_bytes() -> None:
    assert png_bytes(draw_curves([curves()])) == png_bytes(draw_curves([curves()]))
