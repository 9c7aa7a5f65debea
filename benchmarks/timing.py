"""Timing on machines that are shared and noisy: A and B in turn, and the ratio pair by pair."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MIN_PAIRS = 15


@dataclass(frozen=True)
class PairedRatio:
    """A against B.

    Attributes:
        median: of the paired ratios A / B.
        low, high: their quartiles.
        pairs: how many.
        a_s, b_s: median seconds of either; of use only beside the ratio and the machine's name.
    """

    median: float
    low: float
    high: float
    pairs: int
    a_s: float
    b_s: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f}, {self.pairs} pairs)"


def paired_ratio(a: Callable[[], object], b: Callable[[], object], pairs: int = MIN_PAIRS) -> PairedRatio:
    """Compares the times of two pieces of work; see `pairs_of`."""
    return ratio_of_pairs(*pairs_of(a, b, pairs))


def pairs_of(
    a: Callable[[], object], b: Callable[[], object], pairs: int, seconds: Callable[[Callable[[], object]], float] | None = None
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Runs `a` and `b` in turn, after one uncounted run of each, the first of a pair changing, and gives the seconds of either.

    Args:
        a, b: the work.
        pairs: how many.
        seconds: runs a piece of work and says how long it took; None: `seconds_of`, by the clock on the wall.
    """
    seconds = seconds or seconds_of
    a()
    b()
    times = []
    for k in range(pairs):
        first, second = (a, b) if k % 2 == 0 else (b, a)
        t1, t2 = seconds(first), seconds(second)
        times.append((t1, t2) if k % 2 == 0 else (t2, t1))
    return [x for x, _ in times], [y for _, y in times]


def ratio_of_pairs(a_s: Sequence[float], b_s: Sequence[float]) -> PairedRatio:
    """A against B from their times in seconds, at least 2, the k-th of either measured next to each other."""
    ratios = [x / y for x, y in zip(a_s, b_s, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)  # of two pairs it goes beyond them
    return PairedRatio(
        median, max(low, min(ratios)), min(high, max(ratios)), len(a_s), statistics.median(a_s), statistics.median(b_s)
    )


def quartiles_of(values: Iterable[float], digits: int = 2) -> str:
    """Median and quartiles of ratios, in words."""
    low, median, high = statistics.quantiles(values, n=4)
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
