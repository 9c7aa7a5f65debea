"""Two sets of masks on the same labelled tiles: scores of both, agreement, verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import VerdictError
from dlcv.runtime.metrics import Scores, confusion_matrix, scores_of

MAX_DROP = 0.005
"""How far mean IoU may fall, by default."""

MIN_AGREEMENT = {"fp32": 0.9999, "fp16": 0.995, "bf16": 0.98, "int8": 0.95}
"""Share of pixels in which a candidate must agree with the reference, by its precision: in float32 only ties differ."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison gave.

    Attributes:
        classes: names.
        tiles: how many were compared.
        reference, candidate: scores of either side against the labels.
        agreement: share of pixels in which the two say the same class, 0..1.
        logit_difference: the largest absolute difference of logits; None where a side gives none.
        not_finite: NaN and infinite logits met on the way, which a mask alone would hide.
    """

    classes: tuple[str, ...]
    tiles: int
    reference: Scores
    candidate: Scores
    agreement: float
    logit_difference: float | None = None
    not_finite: int = 0

    @property
    def drop(self) -> float:
        """How far mean IoU falls from reference to candidate; negative when it rises."""
        return self.reference.mean_iou - self.candidate.mean_iou

    def nothing_to_compare(self) -> str | None:
        """Why this comparison proves nothing, in words; None when it does."""
        scores = self.reference
        if self.tiles == 0:
            return "nothing to compare: no tile was compared"
        if scores.predicted_classes < 2:
            return f"nothing to compare: the reference predicts {scores.predicted_classes} class on {self.tiles} tiles; train it further"
        if not scores.mean_iou > scores.majority_mean_iou:
            return (
                f"nothing to compare: the reference's mean IoU {scores.mean_iou:.4f} is not above the majority predictor's "
                f"{scores.majority_mean_iou:.4f}; train it further"
            )
        return None

    def problems(self, *, max_drop: float, min_agreement: float) -> list[str]:
        """What fails, in words; empty when the candidate holds."""
        if reason := self.nothing_to_compare():
            return [reason]
        found = []
        if math.isnan(self.drop) or self.drop > max_drop:
            found.append(
                f"mean IoU falls by {self.drop:.4f}, from {self.reference.mean_iou:.4f} to {self.candidate.mean_iou:.4f}; allowed is {max_drop}"
            )
        if not self.agreement >= min_agreement:
            found.append(f"argmax agreement {self.agreement:.6f} is below {min_agreement}")
        if self.not_finite:
            found.append(f"{self.not_finite} logits are NaN or infinite")
        return found

    def require(self, *, max_drop: float, min_agreement: float) -> None:
        """Raises VerdictError, with all problems, when there are any."""
        if found := self.problems(max_drop=max_drop, min_agreement=min_agreement):
            raise VerdictError("parity failed: " + "; ".join(found))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; null for what is not a number: a class that does not occur, everything where no tile was compared."""
        return {
            "tiles": self.tiles,
            "agreement": _or_none(self.agreement),
            "logit_difference": self.logit_difference,
            "not_finite": self.not_finite,
            "mean_iou": {
                "reference": _or_none(self.reference.mean_iou),
                "candidate": _or_none(self.candidate.mean_iou),
                "drop": _or_none(self.drop),
            },
            "majority_mean_iou": _or_none(self.reference.majority_mean_iou),
            "iou": {
                name: {"reference": _or_none(a), "candidate": _or_none(b)}
                for name, a, b in zip(self.classes, self.reference.iou, self.candidate.iou, strict=True)
            },
        }


class Comparing:
    """Collects tiles into a `Comparison`.

    Args:
        classes: names.
        uncounted: indices that the mean over classes leaves out.
    """

    def __init__(self, classes: Sequence[str], uncounted: Sequence[int]) -> None:
        self._classes, self._uncounted = tuple(classes), tuple(uncounted)
        self._reference = np.zeros((len(classes), len(classes)), np.int64)
        self._candidate = np.zeros_like(self._reference)
        self._tiles = self._same = self._not_finite = 0
        self._logit_difference: float | None = None

    def add(self, label: NDArray[np.uint8], reference: NDArray[np.uint8], candidate: NDArray[np.uint8]) -> None:
        """Adds a tile: three masks uint8 (H, W) of class indices."""
        self._reference += confusion_matrix(label, reference, len(self._classes))
        self._candidate += confusion_matrix(label, candidate, len(self._classes))
        self._same += int(np.count_nonzero(reference == candidate))
        self._tiles += 1

    def add_logits(self, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> None:
        """Adds the logits of a window: two float32 arrays of one shape."""
        finite = np.isfinite(reference) & np.isfinite(candidate)
        self._not_finite += int(np.count_nonzero(~finite))
        difference = float(
            np.abs(np.subtract(reference, candidate, where=finite, out=np.zeros_like(reference))).max(initial=0.0)
        )
        self._logit_difference = max(self._logit_difference or 0.0, difference)

    def result(self) -> Comparison:
        """What was collected."""
        pixels = int(self._reference.sum())
        return Comparison(
            classes=self._classes,
            tiles=self._tiles,
            reference=scores_of(self._reference, self._uncounted),
            candidate=scores_of(self._candidate, self._uncounted),
            agreement=self._same / pixels if pixels else float("nan"),
            logit_difference=self._logit_difference,
            not_finite=self._not_finite,
        )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
