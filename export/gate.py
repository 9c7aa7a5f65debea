"""The gate of a low precision: whether it is what torch is on labelled images, and whether these images can tell.

Of 48 images one is 0.0208 of accuracy: held to a drop of 0.005, a graph would fail by one image that lies on a boundary, and every
repair with it. So a drop beyond the bound only counts where the images tell it from none at all: the two sides answer the same
images, hence by paired tests. Where there are images enough for the bound, the bound is all that counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.comparison import MIN_AGREEMENT, Comparison
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import VerdictError
from dlcv.runtime.evaluation import NOUNS
from dlcv.runtime.metrics import SegmentationTally, Tally

LEVEL = 0.05
"""Of the test: as seldom is a drop seen where there is none."""
STANDARD_ERRORS = 2.0
"""Likewise, for mean IoU."""


@dataclass(frozen=True)
class Pairs:
    """What the images of a comparison tell of its drop.

    Attributes:
        images: how many.
        lost, gained: classification: images that torch alone, and that the stage alone, has right.
        spread: segmentation: the standard error of the drop of mean IoU, by leaving out one tile after the other (jackknife;
            Efron and Stein, "The jackknife estimate of variance", 1981); nan for fewer than two tiles.
    """

    images: int
    lost: int = 0
    gained: int = 0
    spread: float | None = None

    @property
    def chance(self) -> float:
        """Classification: how probable so many lost images are where neither side is better: McNemar's test, exact, one-sided."""
        of = self.lost + self.gained
        return float(sum(math.comb(of, k) for k in range(self.lost, of + 1)) / 2**of)

    def needed(self, max_drop: float) -> int:
        """How many images tell a drop of `max_drop`, 0..1, from none: one of them is worth no more than that."""
        if max_drop <= 0 or (self.spread is not None and not math.isfinite(self.spread)):
            return self.images + 1
        if self.spread is None:
            return math.ceil(1 / max_drop - 1e-9)
        return math.ceil(self.images * (STANDARD_ERRORS * self.spread / max_drop) ** 2)

    def shows(self, drop: float) -> bool:
        """Whether the images tell a drop of the headline figure from none."""
        return self.chance <= LEVEL if self.spread is None else not drop <= STANDARD_ERRORS * self.spread

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        if self.spread is None:
            return {"images_lost": self.lost, "images_gained": self.gained, "chance": self.chance}
        return {"drop_standard_error": self.spread if math.isfinite(self.spread) else None}


@dataclass
class Pairing:
    """Collects images into `Pairs`."""

    labelled: LabelledSet[Any]
    _matrices: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list, init=False)

    def add(self, label: NDArray[Any], reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        """Adds an image: its label and two answers, as `Tally.add` takes them."""
        one = []
        for answer in (reference, candidate):
            tally = self.labelled.tally()
            tally.add(label, answer)
            one.append(tally.confusion)
        self._matrices.append((one[0], one[1]))

    def result(self) -> Pairs:
        """What was collected."""
        count = len(self._matrices)
        if self.labelled.task == "segmentation":
            return Pairs(count, spread=self._spread())
        right = [(bool(np.trace(a) > 0), bool(np.trace(b) > 0)) for a, b in self._matrices]
        return Pairs(count, sum(a and not b for a, b in right), sum(b and not a for a, b in right))

    def _spread(self) -> float:
        count = len(self._matrices)
        if count < 2:
            return math.nan
        total = [sum(pair[side] for pair in self._matrices) for side in (0, 1)]
        without = [self._headline(total[0] - a) - self._headline(total[1] - b) for a, b in self._matrices]
        return float(np.sqrt((count - 1) * np.var(without)))

    def _headline(self, confusion: NDArray[np.int64]) -> float:
        tally: Tally = self.labelled.tally()
        assert isinstance(tally, SegmentationTally)
        tally.confusion = confusion
        return float(tally.scores().headline)


def require_held(comparison: Comparison, pairs: Pairs | None, precision: str, max_drop: float) -> str:
    """Holds the last stage to the bounds of its precision.

    Args:
        comparison: with torch in float32.
        pairs: of the same images; None holds the drop to its bound in any case.
        precision: of the stage.
        max_drop: how far mean IoU or accuracy may fall, 0..1.

    Returns:
        A line for people where the drop is beyond the bound and the images are too few to tell it from none; else empty.

    Raises:
        VerdictError: names all that fails.
    """
    least = MIN_AGREEMENT[comparison.task][precision]
    if not (problems := comparison.problems(max_drop=max_drop, min_agreement=least)):
        return ""
    noun = NOUNS[comparison.task]
    if pairs is not None and comparison.drop > max_drop and pairs.needed(max_drop) > pairs.images:
        if pairs.shows(comparison.drop):
            problems.append(_too_few(pairs, noun, max_drop))
        elif not (problems := comparison.problems(max_drop=math.inf, min_agreement=least)):
            return _not_told(comparison, pairs, max_drop)
    raise VerdictError(
        f"{precision} is not what torch is on {comparison.images} {noun}s, no file was written: {'; '.join(problems)}"
    )


def _not_told(comparison: Comparison, pairs: Pairs, max_drop: float) -> str:
    noun, scores = NOUNS[comparison.task], (comparison.reference.headline, comparison.candidate.headline)
    if pairs.spread is None:
        why = f"{pairs.lost} of {pairs.images} {noun}s lost and {pairs.gained} gained; by chance in {pairs.chance:.0%} of cases"
    else:
        why = f"standard error of the drop {pairs.spread:.4f}"
    return (
        f"{comparison.reference.headline_name} falls by {comparison.drop:.4f}, from {scores[0]:.4f} to {scores[1]:.4f}, which these {noun}s cannot "
        f"tell from no drop ({why}): it is let pass, and not shown to be within {max_drop}; {_too_few(pairs, noun, max_drop)}"
    )


def _too_few(pairs: Pairs, noun: str, max_drop: float) -> str:
    if max_drop <= 0 or pairs.needed(max_drop) <= pairs.images + 1:
        return f"{pairs.images} {noun}s are too few for a bound of {max_drop}: pass more with --data, or allow more with --max-drop"
    return f"a bound of {max_drop} needs about {pairs.needed(max_drop)} {noun}s and these are {pairs.images}: pass more with --data, or allow more with --max-drop"
