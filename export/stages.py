"""Scores at each stage of an export on the same labelled images: torch in float32, the graph in float32, the graph in low precision.

Which stage loses what is then seen, instead of a single difference between the ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dlcv.export.verify import twin_session
from dlcv.runtime.card import ModelCard
from dlcv.runtime.comparison import MIN_AGREEMENT, Comparing, Comparison
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import VerdictError
from dlcv.runtime.evaluation import NOUNS, answer_images
from dlcv.runtime.sessions.base import Session

BATCH = 4


class TwinSession(Session):
    """A graph with its logits as a further output, as verification runs it; see `verify.twin_session`."""

    def __init__(self, proto: onnx.ModelProto, card: ModelCard) -> None:
        self.card = card
        self.description = f"the graph in {card.precision}, with its logits"
        self._twin, self._logits = twin_session(proto, card)

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        head, logits = self._twin.run([self.card.head, self._logits], {"image": images})
        return {self.card.head: head, "logits": logits}


def compare_stages(
    reference: Session, stages: Mapping[str, Session], labelled: LabelledSet[Any]
) -> dict[str, Comparison]:
    """Each stage against the reference, in one pass over the images.

    Args:
        reference: torch in float32.
        stages: by name.
        labelled: the images.

    Raises:
        DatasetError: when an image or its label cannot be read.
    """
    comparing = {name: Comparing(labelled.task, labelled.classes, labelled.uncounted) for name in stages}
    for example in labelled.examples:
        image, label = labelled.read(example)
        (expected,) = answer_images(reference, [image], batch=BATCH)
        for name, session in stages.items():
            (got,) = answer_images(session, [image], batch=BATCH)
            comparing[name].add(label, expected.answer, got.answer)
            if expected.logits is not None and got.logits is not None:
                comparing[name].add_logits(expected.logits, got.logits)
    return {name: one.result() for name, one in comparing.items()}


def require_stage(comparison: Comparison, precision: str, max_drop: float) -> None:
    """Holds the last stage to the bounds of its precision.

    Args:
        comparison: with torch in float32.
        precision: of the stage.
        max_drop: how far mean IoU or accuracy may fall, 0..1.

    Raises:
        VerdictError: names all that fails, and what one image is worth where that is more than is allowed.
    """
    least = MIN_AGREEMENT[comparison.task][precision]
    problems = comparison.problems(max_drop=max_drop, min_agreement=least)
    if not problems:
        return
    if comparison.task == "classification" and comparison.drop > max_drop and 1 / comparison.images > max_drop:
        problems.append(
            f"one image of {comparison.images} is {1 / comparison.images:.4f} of accuracy: pass more with --data, or allow it with --max-drop"
        )
    raise VerdictError(
        f"{precision} is not what torch is on {comparison.images} {NOUNS[comparison.task]}s, no file was written: {'; '.join(problems)}"
    )
