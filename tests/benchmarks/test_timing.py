"""Paired ratios: the drift of a machine cancels out, a real difference stays."""

from __future__ import annotations

import time

import pytest

from dlcv.benchmarks import timing
from dlcv.benchmarks.timing import paired_ratio


def test_a_known_ratio() -> None:
    ratio = paired_ratio(lambda: time.sleep(0.08), lambda: time.sleep(0.02), pairs=5)
    assert ratio.median > 1.5, (
        "four, and less where a busy machine wakes the shorter one 30 ms late in half of the pairs"
    )
    assert ratio.low <= ratio.median <= ratio.high
    assert ratio.pairs == 5


def test_drift_cancels_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that becomes ten times slower during the run: A is still twice B."""
    slowness = iter([1.0] * 2 + [1 + k / 5 for k in range(60)])
    monkeypatch.setattr(timing, "seconds_of", lambda work: work() * next(slowness))
    ratio = paired_ratio(lambda: 2.0, lambda: 1.0, pairs=30)
    assert ratio.median == pytest.approx(2.0, rel=0.05), "the order in a pair changes, so that half of the drift is up"


def test_text() -> None:
    assert str(timing.PairedRatio(1.5, 1.25, 2.0, 15, 3.0, 2.0)) == "1.50 (1.25 to 2.00, 15 pairs)"
