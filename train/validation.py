"""Loss and scores on validation images, fitted to the model's size just as the runtime fits them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcv.runtime.datasets.labelled import Example, LabelledSet
from dlcv.runtime.errors import DlcvError
from dlcv.runtime.metrics import Tally
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.train.session import TorchSession


def validate(
    session: TorchSession,
    labelled: LabelledSet[Any],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    batch: int,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[float, Tally]:
    """Runs `session` over labelled images at their own sizes; images are read while the model works.

    Args:
        loss: logits float (1, C, ...) and labels int64 (1, ...) -> mean.
        batch: windows that go through the model at once.
        advance: called with the number of images done since the last call.

    Returns:
        The mean of the images' losses, and the tally of their answers. A tile all of whose classes have the weight 0 (none
        is in the training labels) has no loss and is left out of the mean; nan when none is left. Of a single image's mean
        the weight of its class cancels out, so that of classification this is the plain loss. The same on every call:
        one thread reads and one finishes, so that the images of a batch are always the same.

    Raises:
        DlcvError: when an output is not a finite number.
        DatasetError: when an image or its label cannot be read.
    """
    tally, losses = labelled.tally(), []

    def finish(example: Example, logits: NDArray[Any]) -> float:
        if not np.isfinite(logits).all():  # their argmax would still be a valid class
            raise DlcvError(f"the outputs for {example.name} are not numbers; try a smaller --learning-rate")
        label, logits = labelled.label(example), np.ascontiguousarray(logits)
        value = float(loss(torch.from_numpy(logits)[None], torch.from_numpy(label.astype(np.int64))[None]))
        tally.add(label, logits.argmax(0).astype(np.uint8) if labelled.task == "segmentation" else logits)
        return value

    def report(outcome: Outcome[Example, float]) -> None:
        assert outcome.result is not None, "reading raises DatasetError and not TileError"
        losses.append(outcome.result)
        advance(1)

    pipeline: Pipeline[Example, float] = Pipeline(
        session, lambda example: labelled.read(example)[0], finish, PipelineSettings(batch), lambda out: out["logits"]
    )
    pipeline.run(labelled.examples, report)
    counted = [value for value in losses if not math.isnan(value)]
    return math.fsum(counted) / len(counted) if counted else math.nan, tally
