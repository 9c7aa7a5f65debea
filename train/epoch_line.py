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

    def line(self, figures: EpochFigures, tally: Tally) -> str:
        """What is told of one epoch."""
        text = _figures(figures, tally, self._classes, self._epochs)
        if not (note := one_class_note(tally, self._classes)):
            return text
        advice = "" if self._advised and figures.epoch < self._epochs else ADVICE
        self._advised = True
        return f"{text} | {note}{advice}"


def _figures(figures: EpochFigures, tally: Tally, classes: Sequence[str], epochs: int) -> str:
    scores = tally.scores()
    each = " ".join(f"{name} {value:.3f}" for name, value in per_class_lines(scores, classes) if not math.isnan(value))
    others = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in list(scores.figures().items())[1:-1]]
    return (
        f"epoch {figures.epoch}/{epochs}: loss {figures.train_loss:.4f}, validation loss {figures.validation_loss:.4f}, "
        f"{scores.headline_name} {scores.headline:.4f} (majority predictor {scores.majority:.4f}), "
        f"{', '.join(others)}, {figures.seconds:.0f} s, {figures.data_wait:.0%} of training waiting for data | {each}"
    )
