"""Parity: does an engine give what the reference gives, on the same labelled images? Either side may be a checkpoint, several
that are averaged, a graph, a plan; the reference may also be the `.reference.npz` of an export, so that no torch is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.benchmarks.judging.engines import kind_of_side, open_engine
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import Example, LabelledSet
from dlcv.runtime.datasets.loading import labelled_for
from dlcv.runtime.datasets.masks.description import DatasetDescription
from dlcv.runtime.errors import DatasetError, TileError, UsageError
from dlcv.runtime.progress import Progress
from dlcv.runtime.provenance import Trust, check_file
from dlcv.runtime.scoring.comparison import (
    MAX_DROP,
    MAX_PROBABILITY_DIFFERENCE,
    MIN_AGREEMENT,
    Comparing,
    Comparison,
    bound_precision,
)
from dlcv.runtime.scoring.evaluation import NOUNS, Answered, answer_images
from dlcv.runtime.scoring.reference import Reference, read_reference
from dlcv.runtime.sessions import Session

BATCH = {"segmentation": 4, "classification": 32}
"""How many images are read, and windows run, at once."""


class EngineSide:
    """A side that computes: checkpoints, a graph or a plan."""

    def __init__(self, session: Session) -> None:
        self.card, self.description, self.computes = session.card, session.description, session.computes
        self.masks = session.masks
        self._session = session

    def has(self, labelled: LabelledSet[Any], example: Example) -> bool:
        """An engine has an answer for every image."""
        return True

    def answers(
        self, labelled: LabelledSet[Any], examples: Sequence[Example], images: Sequence[NDArray[np.uint8]]
    ) -> list[Answered]:
        """An answer for each image, all in one go."""
        return answer_images(self._session, images, batch=BATCH[self.card.task])

    def close(self) -> None:
        """Closes the session."""
        self._session.close()


class StoredSide:
    """A side that remembers: the answers in a `.reference.npz`, found by the hash of an image's file."""

    def __init__(self, reference: Reference, path: Path) -> None:
        self.card, self.description, self.computes = reference.card, f"stored answers of torch in {path}", "fp32"
        self.masks: DatasetDescription | None = None
        self._reference = reference

    def has(self, labelled: LabelledSet[Any], example: Example) -> bool:
        """Whether the image was among those of the export."""
        return labelled.sha256(example) in self._reference.answers

    def answers(
        self, labelled: LabelledSet[Any], examples: Sequence[Example], images: Sequence[NDArray[np.uint8]]
    ) -> list[Answered]:
        """The stored answers, and the logits of the few images that have them."""
        digests = [labelled.sha256(example) for example in examples]
        return [Answered(self._reference.answers[digest], self._reference.logits.get(digest)) for digest in digests]

    def close(self) -> None:
        """Nothing is open."""


Side = EngineSide | StoredSide


def open_side(
    paths: Sequence[Path],
    device: str = "auto",
    *,
    session: str = "auto",
    compute: str = "card",
    like: ModelCard | None = None,
    trust: Trust | None = None,
) -> Side:
    """Opens a side.

    Args:
        paths: a graph, a plan, a `.reference.npz` or a checkpoint; several checkpoints are averaged.
        device, session, compute, trust: see `open_engine`.
        like: the other side's card: a checkpoint, which runs at any size, takes input size and fitting from it, so that
            both sides see the same windows.

    Raises:
        DlcvError: when it cannot be used, in words.
    """
    kind = kind_of_side(paths)
    if kind == "reference":
        check_file(paths[0], trust or Trust())
        return StoredSide(read_reference(paths[0]), paths[0])
    engine = open_engine(paths, device=device, session=session, compute=compute, trust=trust)
    if kind == "checkpoint" and like is not None and like.task == engine.card.task:
        engine.card = engine.card.changed(input_size_hw=like.input_size_hw, fit=like.fit, short_side=like.short_side)
    return EngineSide(engine)


def compare(
    reference: Side,
    candidate: Side,
    labelled: LabelledSet[Any],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Runs both sides over the same images; those that a stored reference does not know are left out.

    Raises:
        DatasetError: when the classes differ, or an image or its label cannot be read.
    """
    for side in (reference, candidate):
        labelled.require_same_classes(side.card)
    comparing, batch = Comparing(labelled.task, labelled.classes, labelled.uncounted), BATCH[labelled.task]
    known = [e for e in labelled.examples if reference.has(labelled, e) and candidate.has(labelled, e)]
    for start in range(0, len(known), batch):
        group = known[start : start + batch]
        images, labels = zip(*map(labelled.read, group), strict=True)
        for label, expected, got in zip(
            labels,
            _answers(reference, labelled, group, images),
            _answers(candidate, labelled, group, images),
            strict=True,
        ):
            comparing.add(label, expected.answer, got.answer)
            first, second = expected.logits, got.logits
            if first is not None and second is not None and first.shape == second.shape:
                comparing.add_logits(first, second)
        advance(len(group))
    return comparing.result()


def _answers(
    side: Side, labelled: LabelledSet[Any], group: Sequence[Example], images: Sequence[NDArray[np.uint8]]
) -> list[Answered]:
    try:
        return side.answers(labelled, group, images)
    except TileError as error:
        raise DatasetError(f"{group[0].name} or one of the {len(group) - 1} after it: {error}") from error


@dataclass(frozen=True)
class ParityReport:
    """What a parity check gave.

    Attributes:
        comparison: the figures.
        problems: what fails, in words; empty when the candidate holds.
        given: how many labelled images there were; a stored reference may not know all.
        bounds: by the names of `Comparison.require`.
        run_by: what ran the reference and the candidate.
    """

    comparison: Comparison
    problems: tuple[str, ...]
    given: int
    bounds: dict[str, float | None]
    run_by: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        verdict = {"passed": not self.problems, "problems": list(self.problems)}
        bounds = {name: bound for name, bound in self.bounds.items() if bound is not None}
        given = {f"{NOUNS[self.comparison.task]}s_given": self.given}
        not_shown = {"drop_not_shown": self.not_shown} if self.not_shown else {}
        return self.comparison.to_dict() | verdict | given | bounds | not_shown

    @property
    def not_shown(self) -> str:
        """What was let pass though it is beyond its bound (`Comparison.not_shown`); empty where nothing was, and where parity fails."""
        return "" if self.problems else self.comparison.not_shown(self.bounds["max_drop"] or 0.0)


def check_parity(
    reference: Sequence[Path],
    candidate: Sequence[Path],
    data: Path,
    *,
    dataset: str | None = None,
    split: Path | None = None,
    device: str = "auto",
    trust: Trust | None = None,
    session: str = "auto",
    compute: str = "card",
    max_drop: float | None = None,
    min_agreement: float | None = None,
    max_probability_difference: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ParityReport:
    """Compares two sides on labelled images.

    Args:
        reference, candidate: see `open_side`; stored answers can be the reference alone.
        data, dataset, split: see `labelled_for`.
        device, trust: see `open_engine`; every file of both sides must be one of those trusted.
        session, compute: likewise, of the candidate alone.
        max_drop: how far mean IoU or accuracy may fall.
        min_agreement: share of pixels or images, 0..1.
        max_probability_difference: of a class of an image. None takes, for each bound, that of the candidate's task and precision:
            the card's, or what the session computes in where that is less.
        say: takes lines for people.

    Raises:
        DlcvError: when a side or the data cannot be used, in words. A comparison that fails raises nothing.
    """
    if kind_of_side(candidate) == "reference":
        raise UsageError(
            f"{candidate[0]} holds stored answers and can be the reference only; name an engine or a checkpoint"
        )
    with ExitStack() as stack:
        second = open_side(candidate, device, session=session, compute=compute, trust=trust)
        stack.callback(second.close)
        first = open_side(reference, device, like=second.card, trust=trust)
        stack.callback(first.close)
        learned = first.masks or second.masks
        labelled = labelled_for(second.card, data, dataset=dataset, learned=learned, split=split, say=say)
        if warning := same_model(first.card, second.card):
            say(warning)
        say(f"reference: {first.description}; candidate: {second.description}")
        with Progress(len(labelled), "comparing") as progress:
            comparison = compare(first, second, labelled, advance=progress.advance)
    bounds = _bounds(second, max_drop, min_agreement, max_probability_difference)
    problems = tuple(comparison.problems(**bounds))
    return ParityReport(comparison, problems, len(labelled), bounds, (first.description, second.description))


def _bounds(
    side: Side, max_drop: float | None, min_agreement: float | None, max_probability_difference: float | None
) -> dict[str, Any]:
    """The bounds that were given; those left at None by the candidate's task and precision."""
    card, precision = side.card, bound_precision(side.card.precision, side.computes)
    probabilities = MAX_PROBABILITY_DIFFERENCE if card.task == "classification" else {}
    least, most = MIN_AGREEMENT[card.task][precision], probabilities.get(precision)
    return {
        "max_drop": MAX_DROP if max_drop is None else max_drop,
        "min_agreement": least if min_agreement is None else min_agreement,
        "max_probability_difference": most if max_probability_difference is None else max_probability_difference,
    }


def same_model(reference: ModelCard, candidate: ModelCard) -> str | None:
    """A line of warning when the two sides are not of one checkpoint, as far as their cards tell; else None."""
    hashes = {card.checkpoint_sha256 for card in (reference, candidate)} - {""}
    if (reference.model, reference.members) != (candidate.model, candidate.members) or len(hashes) > 1:
        return f"the sides are of different checkpoints ({_named(reference)} and {_named(candidate)}): this compares two models, not an engine with its reference"
    return None


def _named(card: ModelCard) -> str:
    return card.model if card.members == 1 else f"{card.members} of {card.model}"
