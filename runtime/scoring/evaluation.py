"""An engine on labelled images: its answers, and what they are worth, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from threading import get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import answers_for, answers_of, segmented_of
from dlcv.runtime.datasets.labelled import Example, LabelledSet
from dlcv.runtime.errors import DatasetError, EngineError
from dlcv.runtime.fitting.fitting import fit_to_card
from dlcv.runtime.metrics import Tally
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.progress import Progress
from dlcv.runtime.sessions.base import Session

NOUNS = {"segmentation": "tile", "classification": "image"}
"""What people call an example of a task."""


@dataclass(frozen=True)
class Answered:
    """What a session says about an image.

    Attributes:
        answer: mask, uint8 (h, w) of the image's size, or probabilities, float32 (C,); see `answers.py`.
        logits: float32 (C, H, W) of the first window, or (C,); None where the session gives none.
    """

    answer: NDArray[Any]
    logits: NDArray[np.float32] | None


def evaluate(session: Session, labelled: LabelledSet[Any], settings: PipelineSettings, *, quiet: bool = False) -> Tally:
    """Answers beside labels over all of a set.

    Raises:
        DatasetError: when the classes are not the engine's, or an image or its label cannot be read.
        EngineError: when the engine fails, or its probabilities are not numbers.
    """
    labelled.require_same_classes(session.card)
    tallies: dict[int, Tally] = {}  # one a thread: a matrix of many classes is costly to make for each image

    def finish(example: Example, answer: NDArray[Any]) -> bool:
        label = labelled.label(example)
        if labelled.task == "segmentation" and label.shape != answer.shape[-2:]:
            labelled.read(example)  # raises: image and mask differ in size
        if not np.isfinite(answer).all():  # their argmax would still be a valid class
            raise EngineError(f"{example.name}: the engine's answer is not a number; export the model again")
        if get_ident() not in tallies:
            tallies[get_ident()] = labelled.tally()
        tallies[get_ident()].add(label, segmented_of(answer).mask if answer.ndim == 3 else answer)
        return True

    answers = answers_for(session.card, blend=settings.blend, tta=settings.tta)
    pipeline: Pipeline[Example, bool] = Pipeline(session, labelled.image, finish, settings, answers)
    with Progress(len(labelled), "evaluating", quiet=quiet) as progress:

        def report(outcome: Outcome[Example, bool]) -> None:
            if outcome.error is not None:
                raise DatasetError(f"{outcome.tile.name}: {outcome.error}")
            progress.advance()

        pipeline.run(labelled.examples, report)
    total = labelled.tally()
    for tally in tallies.values():
        total.merge(tally)
    return total


def answer_images(session: Session, images_rgb: Sequence[NDArray[np.uint8]], *, batch: int) -> list[Answered]:
    """A session's answers to images of any sizes, each fitted as its card says.

    Args:
        session: an opened session.
        images_rgb: uint8 (h, w, 3) each, RGB.
        batch: windows that go through the session at once; no more than it takes.

    Returns:
        One for each image.

    Raises:
        TileError: when an image does not fit.
        EngineError: when the engine fails.
    """
    card, batch = session.card, min(batch, session.max_batch or batch)
    fitted = [fit_to_card(image_rgb, card) for image_rgb in images_rgb]
    windows = [window for tile in fitted for window in tile.windows]
    starts = accumulate((len(tile.windows) for tile in fitted), initial=0)
    first = {start: k for k, start in zip(range(len(fitted)), starts)}
    answers: list[NDArray[Any]] = []
    logits: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(windows), batch):
        outputs = session.run(np.stack(windows[start : start + batch]))
        answers.extend(answers_of(outputs, card.task))
        if "logits" in outputs:  # a copy, so that those of the other windows are let go
            logits |= {first[start + k]: row.copy() for k, row in enumerate(outputs["logits"]) if start + k in first}
    left = iter(answers)
    return [Answered(tile.join([next(left) for _ in tile.windows]), logits.get(k)) for k, tile in enumerate(fitted)]


def one_class_note(tally: Tally, classes: Sequence[str]) -> str:
    """A line for people where all answers are the same class, such as `it predicts only sea: ...`; else empty."""
    scores = tally.scores()
    if scores.predicted_classes != 1:
        return ""
    said = int(np.argmax(tally.confusion.sum(0)))
    truth = tally.confusion.sum(1)
    if truth[said] < truth.max():  # classes may be equally common
        return f"it predicts only {classes[said]}, which is not even the commonest class"
    worth = "the majority share" if scores.headline_name == "accuracy" else "the majority predictor's"
    return f"it predicts only {classes[said]}: {scores.headline_name} equals {worth}"
