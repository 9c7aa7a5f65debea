"""How far figures fall between two sides that answer the same images, and whether these images can tell such a fall from its bound.

Of 48 images one is 0.0208 of accuracy: held to a drop of 0.005 alone, an engine would fail by one image that lies on a boundary. So a
fall beyond its bound counts where it is beyond it by more than chance, and in any case where it is beyond several times the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.metrics import Tally

STANDARD_ERRORS = 2.0
"""By how many a fall must be beyond its bound to be more than chance: one time in 40 where it is at the bound."""
MOST = 4.0
"""What chance excuses at most, in bounds; or one image, where that is worth more."""
CLASS_BOUNDS, CLASS_BOUND = 10.0, 0.05
"""The bound of one class, in bounds of the figure over all, and at least: what few images show moves by more than what all do."""
HAS = 0.01
"""A class whose figure is above this is one that the reference has; a few pixels by chance are not."""
_ROUNDING = 1e-9
"""0.75 less 0.745 is more than 0.005 in binary."""


@dataclass(frozen=True)
class Fall:
    """How far a figure falls.

    Attributes:
        figure: its name, such as `accuracy` or `recall of sea`.
        before, after: of the reference and of the candidate, 0..1.
        error: standard error of the difference; nan where it is not known.
        images: how many tell of it.
        one: what one of them is worth, 0..1; 0 where an image is many pixels.
    """

    figure: str
    before: float
    after: float
    error: float
    images: int
    one: float = 0.0

    @property
    def by(self) -> float:
        """0..1; negative where it rises."""
        return self.before - self.after

    @property
    def lost(self) -> bool:
        """Whether nothing is left of it, and that was more than one image."""
        return self.after == 0 and self.before > max(HAS, self.one) + _ROUNDING

    def within(self, bound: float) -> bool:
        """Whether it falls by no more than that."""
        return self.by <= bound + _ROUNDING

    def told(self, bound: float) -> bool:
        """Whether it falls by more than that beyond chance."""
        return not self.by - STANDARD_ERRORS * self.error <= bound + _ROUNDING

    def excused(self, bound: float) -> bool:
        """Whether it is let pass though it is beyond the bound; a bound of 0 excuses nothing."""
        beyond = not self.within(bound) and bound > 0
        return beyond and not self.told(bound) and self.by <= max(MOST * bound, self.one) + _ROUNDING

    def holds(self, bound: float) -> bool:
        """Whether it is within the bound or let pass."""
        return self.within(bound) or self.excused(bound)

    def needed(self, bound: float) -> int | None:
        """How many images tell a fall of none from one of `bound`; None where that is not known."""
        if bound <= 0 or not math.isfinite(self.error):
            return None
        return math.ceil(self.images * (STANDARD_ERRORS * self.error / bound) ** 2 - _ROUNDING)

    def __str__(self) -> str:
        return f"{self.figure} falls by {self.by:.4f}, from {self.before:.4f} to {self.after:.4f}"


def class_bound(max_drop: float) -> float:
    """How far IoU or recall of one class may fall where the figure over all may fall by `max_drop`."""
    return max(CLASS_BOUND, CLASS_BOUNDS * max_drop)


def class_problems(falls: Sequence[Fall], max_drop: float) -> list[str]:
    """The classes that fall too far, in words: beyond their bound, or to nothing.

    Args:
        falls: of the classes.
        max_drop: the bound over all, 0..1; 1 allows everything.
    """
    if max_drop >= 1:
        return []
    bound = class_bound(max_drop)
    lost = [fall for fall in falls if fall.lost]
    fallen = sorted((x for x in falls if not x.lost and not x.holds(bound)), key=lambda fall: -fall.by)
    found = [f"{fall}: the class is lost" for fall in lost[:3]] + [
        f"{fall}; allowed is {bound:g}" for fall in fallen[:3]
    ]
    left = len(lost) + len(fallen) - len(found)
    return [*found, f"{left} more classes fall likewise"] if left else found


class Pairing:
    """Collects what two sides have right in each image; gives how far figures fall.

    Args:
        classes: names.
        uncounted: indices that the mean over classes leaves out.
    """

    def __init__(self, classes: Sequence[str], uncounted: Sequence[int] = ()) -> None:
        self._classes = tuple(classes)
        self._counted = np.array([k not in uncounted for k in range(len(classes))], bool)

    def falls(self, reference: Tally, candidate: Tally) -> tuple[Fall, tuple[Fall, ...]]:
        """Of the headline figure, and of each counted class that occurs."""
        a, b = reference.scores(), candidate.scores()
        names = [f"{a.per_class_name} of {name}" for name in self._classes]
        errors, images, ones = self._errors()
        occurs = np.flatnonzero(self._counted & (reference.confusion.sum(1) > 0))
        return self._whole(a.headline_name, a.headline, b.headline), tuple(
            Fall(names[k], a.per_class[k], b.per_class[k], float(errors[k]), int(images[k]), float(ones[k]))
            for k in occurs
        )

    def _whole(self, figure: str, before: float, after: float) -> Fall:
        raise NotImplementedError

    def _errors(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """By class: the standard error of its fall, how many images tell of it, and what one is worth."""
        raise NotImplementedError


class ImagePairing(Pairing):
    """Of classification: images that one side alone has right (McNemar, "Note on the sampling error of the difference between
    correlated proportions or percentages", 1947).
    """

    def __init__(self, classes: Sequence[str], uncounted: Sequence[int] = ()) -> None:
        super().__init__(classes, uncounted)
        self._images = np.zeros(len(classes), np.int64)
        self._differ = np.zeros(len(classes), np.int64)

    def add(self, label: int, reference: bool, candidate: bool) -> None:
        """Adds an image: its class, and whether either side has it right."""
        self._images[label] += 1
        self._differ[label] += reference != candidate

    def _whole(self, figure: str, before: float, after: float) -> Fall:
        count = int(self._images.sum())
        error, one = (math.sqrt(self._differ.sum()) / count, 1 / count) if count else (math.nan, 0.0)
        return Fall(figure, before, after, error, count, one)

    def _errors(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        count = np.maximum(self._images, 1)
        return np.sqrt(self._differ) / count, self._images, 1 / count


class TilePairing(Pairing):
    """Of segmentation: by leaving out one tile after the other (jackknife; Efron and Stein, "The jackknife estimate of variance", 1981).

    A class whose truth is in the tile alone that is left out keeps the IoU that it has over all: otherwise it would leave the mean,
    and its loss would look like chance.
    """

    def __init__(self, classes: Sequence[str], uncounted: Sequence[int] = ()) -> None:
        super().__init__(classes, uncounted)
        self._tiles: list[NDArray[np.int64]] = []

    def add(self, reference: NDArray[np.int64], candidate: NDArray[np.int64]) -> None:
        """Adds a tile: the confusion matrix of either side, int64 (classes, classes), rows true."""
        hits = [np.diag(matrix) for matrix in (reference, candidate)]
        unions = [matrix.sum(0) + matrix.sum(1) - hit for matrix, hit in zip((reference, candidate), hits, strict=True)]
        self._tiles.append(np.stack([reference.sum(1), hits[0], unions[0], hits[1], unions[1]]))

    def _whole(self, figure: str, before: float, after: float) -> Fall:
        means = []
        for without, union in self._without():
            counted = self._counted & (union > 0)
            means.append(without[:, counted].mean(1) if counted.any() else np.full(len(without), np.nan))
        error = self._error(means[0] - means[1]) if means else math.nan
        return Fall(figure, before, after, float(error), len(self._tiles))

    def _errors(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        nothing = np.zeros(len(self._classes))
        sides = self._without()
        if not sides:
            return np.full(len(nothing), np.nan), nothing.astype(np.int64), nothing
        images = np.count_nonzero(np.stack(self._tiles)[:, 0], 0).astype(np.int64)
        return self._error(sides[0][0] - sides[1][0]), images, nothing

    def _error(self, without: NDArray[np.float64]) -> NDArray[np.float64]:
        """The jackknife's standard error of what was computed without each of the tiles, along the first axis."""
        found: NDArray[np.float64] = np.sqrt((len(without) - 1) * np.var(without, 0))
        return found

    def _without(self) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """For either side: IoU of each class without each tile, float64 (tiles, classes), and its union over all; empty for fewer than two tiles."""
        if len(self._tiles) < 2:
            return []
        tiles = np.stack(self._tiles)
        total = tiles.sum(0)
        left = total - tiles
        found = []
        for hit, union in ((1, 2), (3, 4)):
            whole = total[hit] / np.maximum(total[union], 1)
            without = left[:, hit] / np.maximum(left[:, union], 1)
            found.append((np.where(left[:, 0] > 0, without, whole), total[union]))
        return found
