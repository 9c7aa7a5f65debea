"""Scores at each stage of an export on the same labelled images: torch in float32, the graph in float32, the graph in low
precision, the plan.

Which stage loses what is then seen, instead of a single difference between the ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dlcv.export.gate import require_held
from dlcv.export.verify import twin_session
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import DlcvError
from dlcv.runtime.scoring.comparison import Comparing, Comparison
from dlcv.runtime.scoring.evaluation import answer_images
from dlcv.runtime.sessions import open_session
from dlcv.runtime.sessions.base import Session

BATCH = 4
REMEMBERED_BYTES = 512 << 20


@dataclass(frozen=True)
class Stage:
    """A stage against torch in float32.

    Attributes:
        comparison: scores of both, agreement, largest logit difference.
        nan, infinite: how many of the stage's logits; None where it gives none, or as `probs` alone.
        no_logits: of a plan: why its twin with logits did not tell them; empty where it did, or was not asked.
    """

    comparison: Comparison
    nan: int | None
    infinite: int | None
    no_logits: str = ""

    def require(self, precision: str, max_drop: float) -> str:
        """`gate.require_held`."""
        return require_held(self.comparison, precision, max_drop)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; each class with its difference."""
        facts = self.comparison.to_dict() | {"ran": True, "nan": self.nan, "infinite": self.infinite}
        facts |= {"no_logits": self.no_logits} if self.no_logits else {}
        for entry in facts[self.comparison.reference.per_class_name.lower()].values():
            first, second = entry["reference"], entry["candidate"]
            entry["difference"] = None if first is None or second is None else second - first
        return facts

    def worst_class(self) -> tuple[str, float] | None:
        """The class that falls furthest, and by how much it changes; None where no class occurs."""
        comparison = self.comparison
        pairs = zip(comparison.classes, comparison.reference.per_class, comparison.candidate.per_class, strict=True)
        changes = [(float(b - a), name) for name, a, b in pairs if np.isfinite(a) and np.isfinite(b)]
        return None if not changes else (min(changes)[1], min(changes)[0])


class TwinSession(Session):
    """A graph with its logits as a further output, as verification runs it; see `verify.twin_session`."""

    def __init__(self, proto: onnx.ModelProto, card: ModelCard) -> None:
        self.card = card
        self.description = f"the graph in {card.precision}, with its logits"
        self._twin, self._logits = twin_session(proto, card)

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        head, logits = self._twin.run([self.card.head, self._logits], {"image": images})
        return {self.card.head: head, "logits": logits}


class RememberingSession(Session):
    """A session that answers a batch again from memory: torch is asked the same at every stage and every repair.

    Args:
        session: is asked the first time; closed by its owner.
        most_bytes: what the memory holds at most.
    """

    def __init__(self, session: Session, most_bytes: int = REMEMBERED_BYTES) -> None:
        self.card, self.description, self.device = session.card, session.description, session.device
        self._session, self._room = session, most_bytes
        self._known: dict[bytes, dict[str, NDArray[Any]]] = {}

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        key = hashlib.sha256(str(images.shape).encode() + images.tobytes()).digest()
        if key in self._known:
            return dict(self._known[key])
        answer = self._session.run(images)
        size = sum(array.nbytes for array in answer.values())
        if size <= self._room:
            self._room -= size
            self._known[key] = answer
        return dict(answer)


def compare_stages(reference: Session, stages: Mapping[str, Session], labelled: LabelledSet[Any]) -> dict[str, Stage]:
    """Each stage against the reference, in one pass over the images.

    Args:
        reference: torch in float32.
        stages: by name.
        labelled: the images.

    Raises:
        DatasetError: when an image or its label cannot be read.
    """
    comparing = {name: Comparing(labelled.task, labelled.classes, labelled.uncounted) for name in stages}
    counts: dict[str, tuple[int, int] | None] = dict.fromkeys(stages)
    for example in labelled.examples:
        image, label = labelled.read(example)
        (expected,) = answer_images(reference, [image], batch=BATCH)
        for name, session in stages.items():
            (got,) = answer_images(session, [image], batch=BATCH)
            comparing[name].add(label, expected.answer, got.answer)
            if got.logits is not None:
                nan, infinite = counts[name] or (0, 0)
                counts[name] = nan + int(np.isnan(got.logits).sum()), infinite + int(np.isinf(got.logits).sum())
                if expected.logits is not None:
                    comparing[name].add_logits(expected.logits, got.logits)
    found = {}
    for name, one in comparing.items():
        nans, infinites = counts[name] or (None, None)
        found[name] = Stage(one.result(), nans, infinites)
    return found


def plan_stage(
    plan: Path, reference: Session, labelled: LabelledSet[Any], twin: Callable[[], Path] | None = None
) -> Stage | str:
    """The plan against torch, where it runs here; else why it did not run.

    Args:
        plan: the file.
        reference: torch in float32.
        labelled: the images.
        twin: gives a plan of the same graph with the head `logits` (`logits_graph.py`): of it are the counts of NaN and Inf and the largest
            difference, which a mask or probabilities alone hide. Asked only where the plan runs and gives no logits itself.

    Raises:
        DatasetError: when an image or its label cannot be read.
    """
    try:
        session = open_session(plan)
    except DlcvError as error:
        return str(error)
    with session:
        stage = compare_stages(reference, {"plan": session}, labelled)["plan"]
    return stage if twin is None or stage.nan is not None else _with_logits(stage, twin, reference, labelled)


def _with_logits(stage: Stage, twin: Callable[[], Path], reference: Session, labelled: LabelledSet[Any]) -> Stage:
    try:
        session = open_session(twin())
    except DlcvError as error:  # the plan itself was built and runs: what is missing is told
        return replace(stage, no_logits=str(error))
    with session:
        told = compare_stages(reference, {"plan": session}, labelled)["plan"]
    worst = max(stage.comparison.not_finite, told.comparison.not_finite)
    comparison = replace(stage.comparison, logit_difference=told.comparison.logit_difference, not_finite=worst)
    return replace(stage, comparison=comparison, nan=told.nan, infinite=told.infinite)


def stage_table(stages: Mapping[str, Stage | str]) -> list[str]:
    """The stages as lines of one width: score, agreement, largest logit difference, NaN and Inf, the class that falls furthest.

    Args:
        stages: by name; a text is why a stage did not run.
    """
    ran = [stage.comparison for stage in stages.values() if isinstance(stage, Stage)]
    if not ran:
        return []
    reference = ran[0].reference
    width = max(len("torch fp32"), *map(len, stages))
    lines = [f"{'stage':{width}}  {reference.headline_name:>9}  agreement  logits by     NaN     Inf  furthest class"]
    lines.append(f"{'torch fp32':{width}}  {reference.headline:9.4f}")
    for name, stage in stages.items():
        if isinstance(stage, str):
            lines.append(f"{name:{width}}  did not run here: {stage}")
            continue
        one, worst = stage.comparison, stage.worst_class()
        apart = "-" if one.logit_difference is None else f"{one.logit_difference:.3g}"
        nan, infinite = ("-" if count is None else str(count) for count in (stage.nan, stage.infinite))
        fell = "" if worst is None or not worst[1] < 0 else f"{worst[0]} {worst[1]:+.4f}"
        lines.append(
            f"{name:{width}}  {one.candidate.headline:9.4f}  {one.agreement:9.6f}  {apart:>9}  {nan:>6}  {infinite:>6}  {fell}".rstrip()
        )
    return lines
