"""Throughput with several batches in flight: threads that each call the session again and again, as many as dlcv-infer would have lanes.

With one caller throughput is latency turned over. With more, a call takes longer and more calls end in a second, until the device
is never idle (Little 1961: in flight = throughput x latency); where that happens is what the curve shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from dlcv.benchmarks.bench.images import images_of
from dlcv.benchmarks.bench.request import Running, Shared
from dlcv.benchmarks.bench.result import Case, InFlight
from dlcv.runtime.errors import DlcvError, reason_of
from dlcv.runtime.sessions import open_session

ROUNDS, ROUND_S = 7, 0.3
"""The levels in turn, so many times, each for so many seconds and a call of each thread at least."""


def with_in_flight(case: Case, running: Running, shared: Shared) -> Case:
    """The case with throughput and latency for each number of batches in flight that is asked for."""
    request, group, images = shared.request, running.group, images_of(case)
    levels: dict[int, Callable[[float], tuple[float, list[float]]]] = {}
    with ExitStack() as stack:
        for count in request.in_flight:
            how: dict[str, Any] = {
                "device": group.device,
                "session": group.session,
                "compute": group.compute,
                "lanes": count,
            }
            try:
                session = stack.enter_context(open_session(group.path, **how, trust=request.trust))
            except DlcvError as error:
                case = case.without(f"{count} in flight", reason_of(error))
                continue
            if session.parallel < count:
                case = case.without(f"{count} in flight", f"the session takes {session.parallel} at a time")
                continue
            pool = stack.enter_context(ThreadPoolExecutor(count))
            levels[count] = _level(lambda session=session: session.run(images), pool, count)  # type: ignore[misc]
        found = measured(levels, min(ROUND_S, request.effort.seconds / ROUNDS))
    rates = {count: [calls * case.batch for calls, _ in rounds] for count, rounds in found.items()}
    told = tuple(
        InFlight(count, tuple(rates[count]), tuple(1000 * s for _, seconds in rounds for s in seconds))
        for count, rounds in found.items()
    )
    return replace(case, in_flight=told)


def measured(
    levels: dict[int, Callable[[float], tuple[float, list[float]]]], round_s: float
) -> dict[int, list[tuple[float, list[float]]]]:
    """Each level for `round_s` in turn, `ROUNDS` times after one that warms up: calls a second, and the seconds of each call."""
    found: dict[int, list[tuple[float, list[float]]]] = {count: [] for count in levels}
    for number in range(ROUNDS + 1):
        for count, level in levels.items():
            result = level(round_s)
            if number:
                found[count].append(result)
    return found


def _level(
    call: Callable[[], object], pool: ThreadPoolExecutor, count: int
) -> Callable[[float], tuple[float, list[float]]]:
    def caller(start: float, round_s: float) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []
        before = time.perf_counter()
        while not found or before - start < round_s:
            call()
            now = time.perf_counter()
            found.append((now - before, now - start))
            before = now
        return found

    def run(round_s: float) -> tuple[float, list[float]]:
        start = time.perf_counter()
        callers = [pool.submit(caller, start, round_s) for _ in range(count)]
        calls = [one for caller in callers for one in caller.result()]
        return sum(_rate(caller.result()) for caller in callers), [seconds for seconds, _ in calls]

    return run


def _rate(calls: list[tuple[float, float]]) -> float:
    """Calls a second of one thread, until its own last one ended: threads that wait for the slowest at the end are no idle device."""
    return len(calls) / calls[-1][1]
