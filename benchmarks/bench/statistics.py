"""Statistics of times: quantiles and ratios of medians, with intervals that assume no distribution.

Times on a shared machine are skewed and follow each other, so neither normal intervals nor plain resampling would hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
MANY = 30
"""Samples from which blocks of them can be drawn again."""
QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Interval:
    """An estimate between its bounds, in the unit of what was estimated."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def quantile(samples: Sequence[float], share: float, confidence: float = CONFIDENCE) -> Interval | None:
    """A quantile between two of the samples: an order statistic's binomial interval (David and Nagaraja 2003, 7.1).

    Args:
        samples: taken as independent; at least one.
        share: 0..1, such as 0.99 for p99.
        confidence: that the interval holds the true quantile.

    Returns:
        None where there are too few samples for both ends: see `samples_for`.
    """
    ordered = np.sort(np.asarray(samples, np.float64))
    count, miss = len(ordered), (1 - confidence) / 2
    below = _binomial_cdf(count, share)  # [k]: P(at most k samples lie below the quantile)
    low = int(np.searchsorted(below, miss, side="right")) - 1  # the most samples below it that are too few to be likely
    high = int(np.searchsorted(below, 1 - miss, side="left"))  # places, from 0, of the samples that are the bounds
    if low < 0 or high >= count:
        return None
    value = float(np.quantile(ordered, share))
    return Interval(value, min(value, float(ordered[low])), max(value, float(ordered[high])))


def samples_for(share: float, confidence: float = CONFIDENCE) -> int:
    """The fewest samples that give `quantile` both ends: 6 for the median, 36 for p90, 72 for p95, 368 for p99."""
    rarer = max(share, 1 - share)
    return math.ceil(math.log((1 - confidence) / 2) / math.log(rarer) - 1e-9)


def _binomial_cdf(count: int, share: float) -> NDArray[np.float64]:
    """P(X <= k), k = 0..count, of a binomial distribution."""
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count + 1)))))
    chosen = np.arange(count + 1)
    logs = (
        factorials[-1]
        - factorials
        - factorials[::-1]
        + chosen * math.log(share)
        + (count - chosen) * math.log1p(-share)
    )
    return np.cumsum(np.exp(logs))


def ratio_of_medians(
    new: Sequence[float],
    old: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """median(new) / median(old), with the bootstrap's percentile interval (Efron and Tibshirani 1993, 13.3).

    Blocks of neighbouring samples are drawn, not single ones (Kuensch 1989), of n^(1/3) samples (Hall, Horowitz and Jing 1995): what
    follows each other is alike on a busy machine, and single draws would give an interval that is too narrow.

    Args:
        new, old: positive, in the order in which they were measured; independent of each other.
    """
    generator = np.random.default_rng(seed)
    medians = [_bootstrap_medians(np.asarray(samples, np.float64), resamples, generator) for samples in (new, old)]
    low, high = np.quantile(medians[0] / medians[1], [(1 - confidence) / 2, (1 + confidence) / 2])
    value = float(np.median(new) / np.median(old))
    return Interval(value, min(value, float(low)), max(value, float(high)))


def shift_of(new: Sequence[float], old: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """How many times larger `new` is than `old`: Hodges and Lehmann's estimate (1963) with the interval of the Mann-Whitney test.

    It is the median of all ratios of a new sample to an old one. Right for few samples too, where the bootstrap's interval of a
    median is too narrow; it takes samples as independent, and the two as alike but for the factor.

    Args:
        new, old: positive; with fewer than 5 on either side the interval is all that was seen.
    """
    ratios = np.sort(np.divide.outer(np.asarray(new, np.float64), np.asarray(old, np.float64)), axis=None)
    pairs, total = len(ratios), len(new) + len(old)
    normal = NormalDist().inv_cdf((1 + confidence) / 2)
    outside = max(0, math.floor(pairs / 2 - normal * math.sqrt(pairs * (total + 1) / 12)) - 1)
    return Interval(float(np.median(ratios)), float(ratios[outside]), float(ratios[pairs - 1 - outside]))


def change_of(new: Sequence[float], old: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """New over old: `ratio_of_medians` where either has `MANY` samples, which may follow each other; with fewer `shift_of`."""
    many = min(len(new), len(old)) >= MANY
    return (ratio_of_medians if many else shift_of)(new, old, confidence=confidence)


def _bootstrap_medians(
    samples: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    count = len(samples)
    length = max(1, round(count ** (1 / 3)))
    blocks = math.ceil(count / length)
    starts = generator.integers(0, count - length + 1, (resamples, blocks, 1))
    places = (starts + np.arange(length)).reshape(resamples, -1)[:, :count]
    medians: NDArray[np.float64] = np.median(samples[places], axis=1)
    return medians


def drift(samples: Sequence[float]) -> float:
    """Median of the second half over that of the first: 1 where nothing changed while it was measured."""
    half = len(samples) // 2
    return float(np.median(samples[half:]) / np.median(samples[:half])) if half else 1.0
