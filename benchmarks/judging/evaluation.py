"""What `dlcv-evaluate` does: an engine or checkpoints on labelled images, and the result as a table and as JSON values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.benchmarks.judging.engines import open_engine
from dlcv.benchmarks.judging.tables import score_rows
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import labelled_for
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.metrics import Tally
from dlcv.runtime.pipeline.batch_size import cpu_batch
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.provenance import Trust
from dlcv.runtime.scoring.comparison import or_none
from dlcv.runtime.scoring.evaluation import NOUNS, evaluate, one_class_note
from dlcv.runtime.sessions import Session
from dlcv.runtime.tables import markdown_table, score
from dlcv.runtime.work.settings import refuse_without_probabilities

BATCH = 16
"""Windows at once where a session takes several better than one: small images, or a GPU."""


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation gave: the images, what was counted on them, and the session: in words, and what it computes in."""

    labelled: LabelledSet[Any]
    tally: Tally
    run_by: str
    computes: str

    def table(self, title: str) -> str:
        """The headline, a line a class, and the other figures, below `title`."""
        rows = score_rows(self.tally.scores(), self.labelled.classes, self.labelled.uncounted)
        return markdown_table(["", title], [[name, score(value)] for name, value in rows])

    def lines(self) -> list[str]:
        """For people: the majority predictor beside it, and whether the model says one class only."""
        scores, labelled = self.tally.scores(), self.labelled
        beside = (
            f"{len(labelled)} {NOUNS[labelled.task]}s; majority predictor ({labelled.classes[scores.majority_class]}): "
        )
        found = [f"{beside}{scores.headline_name} {scores.majority:.4f}", f"run by {self.run_by}"]
        return found + [note for note in [one_class_note(self.tally, labelled.classes)] if note]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; null for what is not a number."""
        scores, labelled = self.tally.scores(), self.labelled
        per_class = zip(labelled.classes, scores.per_class, strict=True)
        return {
            f"{NOUNS[labelled.task]}s": len(labelled),
            **{name: or_none(value) for name, value in scores.figures().items()},
            "run_by": self.run_by,
            "computes": self.computes,
            "majority_class": labelled.classes[scores.majority_class],
            "predicted_classes": scores.predicted_classes,
            "count": scores.count,
            scores.per_class_name.lower(): {name: or_none(value) for name, value in per_class},
            "confusion": self.tally.confusion.tolist(),
        }


def run_evaluation(
    paths: Sequence[Path],
    data: Path,
    *,
    dataset: str | None = None,
    split: Path | None = None,
    device: str = "auto",
    trust: Trust | None = None,
    session: str = "auto",
    compute: str = "card",
    blend: bool | None = None,
    tta: str = "none",
    say: Callable[[str], None] = lambda _: None,
) -> EvaluationReport:
    """Evaluates an engine, or checkpoints whose probabilities are averaged.

    Args:
        paths: see `open_engine`.
        data, dataset, split: see `labelled_for`.
        device, session, compute, trust: see `open_session`.
        blend, tta: see `FittingSettings`.
        say: takes lines for people.

    Raises:
        DlcvError: when the engine or the data cannot be used, in words.
    """
    with open_engine(paths, device=device, session=session, compute=compute, lanes=cpu_count(), trust=trust) as engine:
        refuse_without_probabilities(engine.card, paths[0], blend, tta)
        labelled = labelled_for(engine.card, data, dataset=dataset, learned=engine.masks, split=split, say=say)
        settings = PipelineSettings(
            batch=_batch(engine, len(labelled)), decoders=cpu_count(), writers=cpu_count(), fit=engine.card.fit,
            blend=blend is not False, tta=tta,
        )  # fmt: skip
        return EvaluationReport(labelled, evaluate(engine, labelled, settings), engine.description, engine.computes)


def _batch(session: Session, tiles: int) -> int:
    if session.device == "cpu":
        return cpu_batch(session, tiles)
    return min(BATCH, session.max_batch or BATCH)
