"""Paired ratios: the drift of a machine cancels out, a real difference stays."""

from __future__ import annotations

import time

import pytest

from dlcv.benchmarks import timing
from dlcv.benchmarks.timing import paired_ratio


def test_a_known_ratio() -> None:
    ratio = paired_ratio(lambda: time.sleep(0.008), lambda: time.sleep(0.004), pairs=15)
    assert 1.5 < ratio.median < 2.5, "sleeps last at least as long as asked, and a little longer on a busy machine"
    assert ratio.low <= ratio.median <= ratio.high
    assert ratio.pairs == 15


def test_drift_cancels_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that becomes ten times slower during the run: A is still twice B."""
    slowness = iter([1.0] * 2 + [1 + k / 5 for k in range(60)])
    monkeypatch.setattr(timing, "seconds_of", lambda work: work() * next(slowness))
    ratio = paired_ratio(lambda: 2.0, lambda: 1.0, pairs=30)
    assert ratio.median == pytest.approx(2.0, rel=0.05), "the order in a pair changes, so that half of the drift is up"


def test_text() -> None:
    assert str(timing.PairedRatio(1.5, 1.25, 2.0, 15, 3.0, 2.0)) == "1.50 (1.25 to 2.00, 15 pairs)"
