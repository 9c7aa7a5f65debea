"""Loss and scores on validation images, fitted to the model's size just as the runtime fits them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from dlcv.runtime.progress import Progress
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.processes.distributed import Processes


@dataclass(frozen=True)
class Share:
    """Validation on some of the images, such as the share of one process.

    Attributes:
        losses: of each image; nan of a tile all of whose classes have the weight 0 (none is in the training labels).
        tally: of the answers.
    """

    losses: Sequence[float]
    tally: Tally


def validate(
    session: TorchSession,
    labelled: LabelledSet[Any],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    batch: int,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[float, Tally]:
    """Validates on all images in this process; see `answered` and `merged`."""
    return merged([answered(session, labelled, loss, batch=batch, advance=advance)])


class _Stopped(Exception):
    """Ctrl-C."""


def validate_together(
    processes: Processes,
    session: TorchSession,
    labelled: LabelledSet[Any],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    batch: int,
    stop: Callable[[], bool],
) -> tuple[float, Tally] | None:
    """Validates on all images, each process on its share of them, with progress; see `answered`.

    Args:
        stop: whether this process is to end; then the others still finish their shares.

    Returns:
        The same in each process, see `merged`; None where one was stopped.
    """
    place = processes.place
    mine = labelled.with_examples(labelled.examples[place.rank :: place.size])

    def advance(images: int) -> None:
        progress.advance(images)
        if stop():
            raise _Stopped

    share = None
    with Progress(len(mine), "validation", quiet=not place.main) as progress, suppress(_Stopped):
        share = answered(session, mine, loss, batch=batch, advance=advance)
    shares = processes.gathered(share)
    finished = [each for each in shares if each is not None]
    return merged(finished) if len(finished) == len(shares) else None


def merged(shares: Sequence[Share]) -> tuple[float, Tally]:
    """The mean of the losses of all images that have one, and the tally of all answers.

    Exact, and so the same however the images were shared out: counts are integers, and `fsum` rounds once. Nan where no
    image has a loss. Of a single image's mean the weight of its class cancels out, so that of classification this is the
    plain loss.
    """
    tally = shares[0].tally
    for other in shares[1:]:
        tally.merge(other.tally)
    counted = [value for share in shares for value in share.losses if not math.isnan(value)]
    return math.fsum(counted) / len(counted) if counted else math.nan, tally


def answered(
    session: TorchSession,
    labelled: LabelledSet[Any],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    batch: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Share:
    """Runs `session` over labelled images at their own sizes; images are read while the model works.

    The same on every call: one thread reads and one finishes, so that the images of a batch are always the same.

    Args:
        loss: logits float (1, C, ...) and labels int64 (1, ...) -> mean.
        batch: windows that go through the model at once.
        advance: called with the number of images done since the last call.

    Raises:
        DlcvError: when an output is not a finite number.
        DatasetError: when an image or its label cannot be read.
    """
    tally = labelled.tally()
    losses: list[float] = []

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
    return Share(losses, tally)
