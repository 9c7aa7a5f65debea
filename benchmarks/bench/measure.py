"""The measuring core: several ways to do the same work, warmed up, then in turn, round by round.

A round calls each way once, in an order that is drawn anew, so that the machine's drift meets all alike and the times of a round
can be compared pair by pair. What a way's threads do after it has returned (OpenMP's and ONNX Runtime's spin for a while) falls on
whichever comes next, which the drawn order spreads too.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from dlcv.benchmarks.bench.result import Lane, WarmUp
from dlcv.benchmarks.timing import MIN_PAIRS, seconds_of
from dlcv.runtime.errors import reason_of

T = TypeVar("T")
R = TypeVar("R")
Way = Callable[[], float]
"""Does the work once and gives the seconds that count."""

WINDOW, STABLE = 5, 0.05
CRITERION = f"the medians of the last two windows of {WINDOW} calls differ by less than {STABLE:.0%}"
"""When a warm-up is over."""


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: at most; 368 are what p99 needs.
        pairs: rounds at least, whatever they take.
        seconds: after which no further round begins, once there are `pairs`.
        warm_up_s: seconds of warm-up at most, for each way; two calls are made in any case.
        pause_s: seconds between two calls, in which threads of the last one come to rest.
    """

    rounds: int = 400
    pairs: int = MIN_PAIRS
    seconds: float = 10.0
    warm_up_s: float = 5.0
    pause_s: float = 0.002


@dataclass
class Measured:
    """What came of the ways: lanes by name, and for those that failed the reason, in words."""

    lanes: dict[str, Lane] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def timed(work: Callable[[], object]) -> Way:
    """A way whose seconds are those of the clock from the call to its return."""
    return lambda: seconds_of(work)


def on(run: Callable[[T], R], images: T) -> Callable[[], R]:
    """A call of `run` with these images."""
    return lambda: run(images)


def interleaved(ways: Mapping[str, Way], effort: Effort, *, must: str | None = None, seed: int = 0) -> Measured:
    """Warms up every way, then measures all in turn.

    Args:
        ways: by name.
        must: the way whose failure is raised; another's is a reason in `missing`.
        seed: of the order in the rounds.

    Raises:
        Exception: what `must` raised.
    """
    measured = Measured()
    warm: dict[str, WarmUp] = {}
    for name, way in ways.items():
        try:
            warm[name] = warm_up(way, effort.warm_up_s)
        except Exception as error:  # a baseline is another project's code, which may fail in any way
            if name == must:
                raise
            measured.missing[name] = _sentence(error)
    times, failed = _rounds({name: ways[name] for name in warm}, effort, random.Random(seed), must)
    measured.missing |= failed
    measured.lanes = {
        name: Lane(tuple(seconds * 1000 for seconds in times[name]), warm[name]) for name in warm if name in times
    }
    return measured


def warm_up(way: Way, at_most_s: float) -> WarmUp:
    """Calls a way until its times are stable (see `CRITERION`), or the time is over."""
    start, times = time.perf_counter(), [way(), way()]
    while not (stable := is_stable(times)) and time.perf_counter() - start < at_most_s:
        times.append(way())
    return WarmUp(len(times), time.perf_counter() - start, stable, times[0] * 1000)


def is_stable(times: list[float]) -> bool:
    """Whether the end of a warm-up meets `CRITERION`."""
    if len(times) < 2 * WINDOW:
        return False
    before, last = statistics.median(times[-2 * WINDOW : -WINDOW]), statistics.median(times[-WINDOW:])
    return abs(last / before - 1) < STABLE if before else last == before


def _rounds(
    ways: Mapping[str, Way], effort: Effort, order: random.Random, must: str | None
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of the ways that last to the end, and for the others the reason; raises what `must` raised."""
    failed: dict[str, str] = {}
    times: dict[str, list[float]] = {name: [] for name in ways}
    names, start = list(ways), time.perf_counter()
    for number in range(max(effort.rounds, effort.pairs) if ways else 0):
        if number >= effort.pairs and time.perf_counter() - start >= effort.seconds:
            break
        order.shuffle(names)
        for name in tuple(names):
            time.sleep(effort.pause_s)
            try:
                times[name].append(ways[name]())
            except Exception as error:  # see `interleaved`
                if name == must:
                    raise
                failed[name] = _sentence(error)
                names.remove(name)
                del times[name]
    return times, failed


def _sentence(error: Exception) -> str:
    return reason_of(error)[:300]
