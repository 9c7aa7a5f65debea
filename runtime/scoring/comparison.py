"""Two sides' answers to the same labelled images: scores of both, agreement, verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import VerdictError
from dlcv.runtime.metrics import Scores, make_tally
from dlcv.runtime.scoring.evaluation import NOUNS
from dlcv.runtime.scoring.falls import Fall, ImagePairing, TilePairing, class_bound, class_problems

MAX_DROP = 0.005
"""How far the headline figure (mean IoU, accuracy) may fall, by default."""

MIN_AGREEMENT = {
    "segmentation": {"fp32": 0.9999, "fp16": 0.995, "bf16": 0.98, "int8": 0.95},
    "classification": {"fp32": 0.999, "fp16": 0.975, "bf16": 0.95, "int8": 0.93},
}
"""Share of pixels, or of images, in which a candidate must say the same class as the reference, by its precision.

In float32 only ties differ. Images are few where pixels are many: below 1000 of them, not one may differ in float32; in fp16,
bf16 and int8 one, two and three of the 48 of a run's probe may lie so near a boundary that rounding moves them across.
"""

_HELD_AS = {"tf32": "fp16"}
"""TF32 has float16's 10 bits of mantissa."""


def bound_precision(precision: str, computes: str) -> str:
    """By which precision of `MIN_AGREEMENT` an engine is held: the lower one of its card's and of what its session computes in.

    A float16 graph that is computed in float32 has weights of float16 still.
    """
    low = _HELD_AS.get(computes, computes)
    order = list(MIN_AGREEMENT["segmentation"])  # the most exact first
    return max(precision, low, key=order.index)


MAX_PROBABILITY_DIFFERENCE = {"fp32": 1e-3}
"""The largest difference of a class's probability, by precision. Few images show little by their class alone, so in float32, where
probabilities move by 1e-6 to 1e-4, they are held too; a lower precision moves those near a boundary by any amount.
"""


@dataclass(frozen=True)
class Comparison:
    """What a comparison gave.

    Attributes:
        task: `segmentation` or `classification`.
        classes: names.
        images: how many were compared.
        reference, candidate: scores of either side against the labels.
        agreement: share of pixels (segmentation) or images (top-1) in which the two say the same class, 0..1.
        fall: of the headline figure.
        class_falls: of the counted classes that occur.
        logit_difference: the largest absolute difference of logits; None where a side gives none.
        probability_difference: the largest absolute difference of a class's probability; None for segmentation.
        not_finite: NaN and infinite logits and probabilities met on the way, which a class alone would hide.
    """

    task: str
    classes: tuple[str, ...]
    images: int
    reference: Scores
    candidate: Scores
    agreement: float
    fall: Fall
    class_falls: tuple[Fall, ...]
    logit_difference: float | None = None
    probability_difference: float | None = None
    not_finite: int = 0

    @property
    def drop(self) -> float:
        """How far the headline figure falls from reference to candidate; negative when it rises."""
        return self.fall.by

    def nothing_to_compare(self) -> str | None:
        """Why this comparison proves nothing, in words; None when it does."""
        scores, noun = self.reference, NOUNS[self.task]
        if self.images == 0:
            return f"nothing to compare: no {noun} was compared"
        if scores.predicted_classes < 2:
            return f"nothing to compare: the reference predicts {scores.predicted_classes} class on {self.images} {noun}s; train it further"
        if not scores.headline > scores.majority:
            return (
                f"nothing to compare: the reference's {scores.headline_name} {scores.headline:.4f} is not above the majority predictor's "
                f"{scores.majority:.4f}; train it further"
            )
        return None

    def problems(
        self, *, max_drop: float, min_agreement: float, max_probability_difference: float | None = None
    ) -> list[str]:
        """What fails, in words; empty when the candidate holds. What is let pass though it is beyond `max_drop` says `not_shown`."""
        if reason := self.nothing_to_compare():
            return [reason]
        found = [] if self.fall.holds(max_drop) else [f"{self.fall}; allowed is {max_drop}"]
        if not self.agreement >= min_agreement:
            found.append(f"argmax agreement {self.agreement:.6f} is below {min_agreement}")
        apart, most = self.probability_difference, max_probability_difference
        if apart is not None and most is not None and not apart <= most:
            found.append(f"largest probability difference {apart:.3g}; allowed is {most}")
        if self.not_finite:
            what = "logits" if self.task == "segmentation" else "logits or probabilities"
            found.append(f"{self.not_finite} {what} are NaN or infinite")
        return found + class_problems(self.class_falls, max_drop)

    def not_shown(self, max_drop: float) -> str:
        """What `problems` lets pass though it is beyond its bound, since the images cannot tell it, in words; empty where there is nothing."""
        bounds = {self.fall: max_drop} | dict.fromkeys(self.class_falls, class_bound(max_drop))
        excused = [fall for fall, bound in bounds.items() if fall.excused(bound)]
        if not excused:
            return ""
        first, noun = excused[0], NOUNS[self.task]
        needed, bound = first.needed(bounds[first]), bounds[first]
        return (
            f"{first}, which {first.images} {noun}s cannot tell from {bound:g} (standard error {first.error:.4f}): "
            f"let pass, and not shown to be within {bound:g}"
            + (f"; about {needed:,} can tell" if needed is not None else "")
            + (f"; likewise classes: {len(excused) - 1}" if len(excused) > 1 else "")
        )

    def require(
        self, *, max_drop: float, min_agreement: float, max_probability_difference: float | None = None
    ) -> None:
        """Raises VerdictError, with all problems, when there are any."""
        if found := self.problems(
            max_drop=max_drop, min_agreement=min_agreement, max_probability_difference=max_probability_difference
        ):
            raise VerdictError("parity failed: " + "; ".join(found))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; null for what is not a number: a class that does not occur, everything where no image was compared."""
        a, b = self.reference, self.candidate
        figures = zip(a.figures().items(), b.figures().values(), strict=True)
        facts: dict[str, Any] = {
            f"{NOUNS[self.task]}s": self.images,
            "agreement": or_none(self.agreement),
            "logit_difference": self.logit_difference,
            "not_finite": self.not_finite,
        }
        if self.task == "classification":
            facts["probability_difference"] = self.probability_difference
        for (name, first), second in figures:
            majority = name.startswith("majority_")  # the labels' alone, so the same on both sides
            facts[name] = or_none(first) if majority else {"reference": or_none(first), "candidate": or_none(second)}
        facts[next(iter(a.figures()))] |= {"drop": or_none(self.drop), "drop_standard_error": or_none(self.fall.error)}
        return facts | {
            a.per_class_name.lower(): {
                name: {"reference": or_none(x), "candidate": or_none(y)}
                for name, x, y in zip(self.classes, a.per_class, b.per_class, strict=True)
            }
        }


class Comparing:
    """Collects images into a `Comparison`.

    Args:
        task: `segmentation` or `classification`.
        classes: names.
        uncounted: indices that the mean over classes leaves out.
    """

    def __init__(self, task: str, classes: Sequence[str], uncounted: Sequence[int] = ()) -> None:
        self._task, self._classes = task, tuple(classes)
        self._reference, self._candidate = (make_tally(task, len(classes), uncounted) for _ in range(2))
        self._tiles, self._answers = TilePairing(self._classes, uncounted), ImagePairing(self._classes, uncounted)
        self._images = self._same = self._not_finite = 0
        self._logit_difference: float | None = None
        self._probability_difference: float | None = None

    def add(self, label: NDArray[Any], reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        """Adds an image: its label and two answers, as `Tally.add` takes them."""
        tallies = self._reference, self._candidate
        before = [tally.confusion.copy() for tally in tallies] if self._task == "segmentation" else []
        for tally, answer in zip(tallies, (reference, candidate), strict=True):
            tally.add(label, answer)
        self._images += 1
        if self._task == "segmentation":
            self._tiles.add(*(tally.confusion - old for tally, old in zip(tallies, before, strict=True)))
            self._same += int(np.count_nonzero(reference == candidate))
            return
        self._answers.add(int(label), bool(reference.argmax() == label), bool(candidate.argmax() == label))
        self._same += int(reference.argmax() == candidate.argmax())
        self._probability_difference = self._larger(self._probability_difference, reference, candidate)

    def add_logits(self, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> None:
        """Adds the logits of a window: two float32 arrays of one shape."""
        self._logit_difference = self._larger(self._logit_difference, reference, candidate)

    def _larger(self, before: float | None, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> float:
        """The larger one of `before` and of the differences of two arrays; counts what is not finite."""
        finite = np.isfinite(reference) & np.isfinite(candidate)
        self._not_finite += int(np.count_nonzero(~finite))
        apart = np.abs(np.subtract(reference, candidate, where=finite, out=np.zeros_like(reference)))
        return max(before or 0.0, float(apart.max(initial=0.0)))

    def result(self) -> Comparison:
        """What was collected."""
        reference = self._reference.scores()
        pairing = self._tiles if self._task == "segmentation" else self._answers
        fall, class_falls = pairing.falls(self._reference, self._candidate)
        return Comparison(
            task=self._task,
            classes=self._classes,
            images=self._images,
            reference=reference,
            candidate=self._candidate.scores(),
            agreement=self._same / reference.count if reference.count else float("nan"),
            fall=fall,
            class_falls=class_falls,
            logit_difference=self._logit_difference,
            probability_difference=self._probability_difference,
            not_finite=self._not_finite,
        )


def or_none(value: float) -> float | None:
    """A figure as a JSON value: null for what is not a number."""
    return None if math.isnan(value) else value
