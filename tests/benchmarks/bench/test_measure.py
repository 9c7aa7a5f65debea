"""The measuring core: all ways in turn, warmed up until stable, a failing baseline told and left out."""

from __future__ import annotations

from collections import Counter

import pytest

from dlcv.benchmarks.bench.measure import WINDOW, Effort, interleaved, is_stable, timed, warm_up
from dlcv.runtime.errors import EngineError

QUICK = Effort(rounds=40, pairs=5, seconds=60, warm_up_s=0, pause_s=0)


def test_every_round_calls_each_way_once_in_changing_order() -> None:
    calls: list[str] = []

    def way(name: str) -> float:
        calls.append(name)
        return 0.001

    measured = interleaved({name: lambda name=name: way(name) for name in "abc"}, QUICK)  # type: ignore[misc]
    assert {name: len(lane.samples_ms) for name, lane in measured.lanes.items()} == dict.fromkeys("abc", 40)
    rounds = [calls[k : k + 3] for k in range(6, len(calls), 3)]  # two calls of each warm up
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    orders = Counter("".join(one) for one in rounds)
    assert len(orders) == 6 and max(orders.values()) < 20
    assert measured.lanes["a"].samples_ms[0] == 1.0, "milliseconds"


def test_time_ends_the_rounds_but_not_before_the_pairs() -> None:
    effort = Effort(rounds=400, pairs=7, seconds=0, warm_up_s=0, pause_s=0)
    assert len(interleaved({"a": lambda: 1.0}, effort).lanes["a"].samples_ms) == 7


def test_warm_up_ends_when_the_times_are_stable() -> None:
    times = iter([9.0, 5.0, 3.0] + [1.0, 1.01] * 50)
    warm = warm_up(lambda: next(times), at_most_s=60)
    assert warm.stable
    assert warm.first_ms == 9000.0
    assert warm.calls == 11, "the first two windows of five whose medians agree are calls 2 to 11: 1.01 and 1.0"


def test_warm_up_has_a_cap_and_says_so() -> None:
    growing = iter(range(1, 10**6))
    warm = warm_up(lambda: 2.0 ** next(growing) % 1e9 + 1, at_most_s=0.0)
    assert not warm.stable and warm.calls == 2
    assert not is_stable([1.0] * (2 * WINDOW - 1))
    assert is_stable([9.0] * 7 + [1.0] * 2 * WINDOW)
    assert not is_stable([1.0] * WINDOW + [1.06] * WINDOW)


def test_a_baseline_that_fails_is_a_reason_and_ours_is_raised() -> None:
    def broken() -> float:
        raise RuntimeError("no C++ compiler\nwas found")

    measured = interleaved({"ours": lambda: 1.0, "torch.compile": broken}, QUICK, must="ours")
    assert set(measured.lanes) == {"ours"}
    assert measured.missing == {"torch.compile": "no C++ compiler\\nwas found"}

    def ours() -> float:
        raise EngineError("the engine fails")

    with pytest.raises(EngineError, match="the engine fails"):
        interleaved({"ours": ours}, QUICK, must="ours")


def test_a_baseline_that_fails_later_on_is_a_reason_too() -> None:
    """After its warm-up of two calls, in its fifth round; the others go on."""
    calls = iter(range(6))

    def gives_up() -> float:
        if next(calls, None) is None:
            raise RuntimeError("it was closed")
        return 1.0

    ways = {"ours": lambda: 1.0, "bare": gives_up, "torch": lambda: 3.0}
    measured = interleaved(ways, QUICK, must="ours")
    assert measured.missing == {"bare": "it was closed"}
    assert {name: len(lane.samples_ms) for name, lane in measured.lanes.items()} == {"ours": 40, "torch": 40}
    calls = iter(range(6))
    with pytest.raises(RuntimeError, match="it was closed"):
        interleaved({"ours": gives_up}, QUICK, must="ours")


def test_timed_measures_the_clock() -> None:
    import time

    assert 0.004 < timed(lambda: time.sleep(0.005))() < 5  # seconds, not milliseconds; a busy machine wakes late
