"""Intervals hold what they say: their coverage by simulation on distributions whose quantiles are known."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from dlcv.benchmarks.bench.statistics import (
    MANY,
    QUANTILES,
    change_of,
    drift,
    quantile,
    ratio_of_medians,
    samples_for,
    shift_of,
)  # fmt: skip

TRIALS = 500
SPREAD = 3 * math.sqrt(0.95 * 0.05 / TRIALS)
"""Three standard deviations of a coverage of 0.95 that is counted in so many trials."""


@pytest.mark.parametrize(("share", "count"), [(0.5, 20), (0.5, 200), (0.9, 60), (0.95, 150), (0.99, 400)])
def test_a_quantile_lies_in_its_interval_as_often_as_promised(share: float, count: int) -> None:
    rng, truth = np.random.default_rng(1), math.exp(NormalDist().inv_cdf(share))
    found = [quantile(rng.lognormal(size=count), share) for _ in range(TRIALS)]
    inside = np.mean([one.low <= truth <= one.high for one in found if one is not None])
    assert all(one is not None for one in found)
    assert inside >= 0.95 - SPREAD, "at least: an order statistic's interval never has less"
    assert inside <= 0.995 or count < 500, "and it is not so wide that it says nothing"
    assert all(one.low <= one.value <= one.high for one in found if one is not None)


@pytest.mark.parametrize(("share", "fewest"), [*zip(QUANTILES, (6, 36, 72, 368), strict=True)])
def test_too_few_samples_give_no_interval(share: float, fewest: int) -> None:
    """0.99 ** 367 is above, 0.99 ** 368 below 0.025: only then the largest sample is above p99 surely enough."""
    samples = np.random.default_rng(0).random(fewest)
    assert samples_for(share) == fewest
    assert quantile(samples, share) is not None
    assert quantile(samples[1:], share) is None


def test_a_quantile_by_hand() -> None:
    """Of 1..10: P(at most 1 of 10 below the median) = 11 / 1024 <= 0.025 < P(at most 2), so ranks 2 and 9."""
    found = quantile(list(range(10, 0, -1)), 0.5)
    assert found is not None
    assert (found.low, found.value, found.high) == (2.0, 5.5, 9.0)


def _following(rng: np.random.Generator, count: int) -> np.ndarray:
    """Lognormal times of which each is half like the last one."""
    noise = rng.normal(size=count + 20)
    for index in range(1, len(noise)):
        noise[index] = 0.5 * noise[index - 1] + math.sqrt(0.75) * noise[index]
    return np.exp(0.1 * noise[20:])


def test_the_ratio_of_medians_holds_for_times_that_follow_each_other() -> None:
    rng = np.random.default_rng(2)
    found = [
        ratio_of_medians(1.2 * _following(rng, 120), _following(rng, 120), resamples=400, seed=k) for k in range(200)
    ]
    inside = np.mean([one.low <= 1.2 <= one.high for one in found])
    assert inside >= 0.86, (
        "the bootstrap promises 0.95 in the limit; with 120 samples that follow each other it has some less"
    )
    wide = np.median([one.high - one.low for one in found])
    assert wide < 0.15, "and tells 20 % from nothing"


@pytest.mark.parametrize(("new", "old"), [(8, 8), (8, 20), (25, 25)])
def test_the_shift_holds_for_few_samples(new: int, old: int) -> None:
    rng = np.random.default_rng(4)
    found = [
        shift_of(1.2 * rng.lognormal(0, 0.3, new), rng.lognormal(0, 0.3, old), confidence=0.99) for _ in range(TRIALS)
    ]
    inside = np.mean([one.low <= 1.2 <= one.high for one in found])
    assert inside >= 0.99 - 3 * math.sqrt(0.99 * 0.01 / TRIALS)


def test_the_shift_by_hand() -> None:
    """With 8 and 8 the test's critical value at 1 % is 7 (Mann and Whitney's tables): the 7th of 64 ratios from either end."""
    new, old = [2.0**k for k in range(8)], [1.0] * 8
    found = shift_of(new, old, confidence=0.99)
    assert (found.low, found.value, found.high) == (1.0, 12.0, 128.0)
    assert change_of(new, old) == shift_of(new, old)
    many = list(np.random.default_rng(0).random(MANY) + 1)
    assert change_of(many, many) == ratio_of_medians(many, many)


def test_blocks_are_what_holds_it() -> None:
    """Slow and fast phases of 10 samples: the interval is wider than that of the same samples in a drawn order."""
    rng = np.random.default_rng(3)
    samples = np.repeat(rng.normal(1, 0.1, 12), 10) + rng.normal(0, 0.01, 120)
    apart, mixed = (ratio_of_medians(order, [1.0]) for order in (samples, rng.permutation(samples)))
    assert apart.high - apart.low > 1.3 * (mixed.high - mixed.low)


def test_drift() -> None:
    assert drift([1, 1, 1, 2, 2, 2]) == 2.0
    assert drift([3.0]) == 1.0
