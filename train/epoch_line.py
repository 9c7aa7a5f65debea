"""What is told of an epoch, in one line for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dlcv.runtime.metrics import Tally, per_class_lines
from dlcv.runtime.scoring.evaluation import one_class_note

ADVICE = "; train longer, weigh the classes with --loss weighted-cross-entropy, or try --balanced-sampling"


@dataclass(frozen=True)
class EpochFigures:
    """An epoch in figures, beside its scores; the names are `history.POSITION`.

    Attributes:
        epoch: from 1.
        step: optimizer steps since the beginning of the run.
        learning_rate: of the next step.
        seconds: of training and validation.
        data_wait: share, 0 to 1, of the training time that was spent waiting for images.
        train_loss: mean over the epoch's steps.
        validation_loss: mean over the validation images.
    """

    epoch: int
    step: int
    learning_rate: float
    seconds: float
    data_wait: float
    train_loss: float
    validation_loss: float


class EpochLines:
    """A line an epoch. Where the model says one class only, each tells it, the first such and the last epoch's with advice.

    Args:
        classes: of the model.
        epochs: of the whole run.
    """

    def __init__(self, classes: Sequence[str], epochs: int) -> None:
        self._classes, self._epochs, self._advised = classes, epochs, False

    def beginning(self, validation_loss: float, tally: Tally) -> str:
        """What is told of weights that are not trained any further."""
        return f"as they are: validation loss {validation_loss:.4f}, {_scores(tally)} | {_each(tally, self._classes)}"

    def line(self, figures: EpochFigures, tally: Tally) -> str:
        """What is told of one epoch."""
        text = (
            f"epoch {figures.epoch}/{self._epochs}: loss {figures.train_loss:.4f}, validation loss {figures.validation_loss:.4f}, "
            f"{_scores(tally)}, {figures.seconds:.0f} s, {figures.data_wait:.0%} of training waiting for data | "
            f"{_each(tally, self._classes)}"
        )
        if not (note := one_class_note(tally, self._classes)):
            return text
        advice = "" if self._advised and figures.epoch < self._epochs else ADVICE
        self._advised = True
        return f"{text} | {note}{advice}"


def _scores(tally: Tally) -> str:
    scores = tally.scores()
    others = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in list(scores.figures().items())[1:-1]]
    return (
        f"{scores.headline_name} {scores.headline:.4f} (majority predictor {scores.majority:.4f}), {', '.join(others)}"
    )


def _each(tally: Tally, classes: Sequence[str]) -> str:
    lines = per_class_lines(tally.scores(), classes)
    return " ".join(f"{name} {value:.3f}" for name, value in lines if not math.isnan(value))
