"""Engines timed against each other where they would run: in one process, in turn, a ratio for each round.

On a shared machine speeds drift by more than they differ; within a round they drift alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import DlcvError
from dlcv.runtime.sessions import open_session
from dlcv.runtime.sessions.base import Session

PAIRS = 51
MIN_PAIRS = 3
"""Where even one round of a large model takes long."""
SECONDS = 60.0
"""What a race may take; fewer rounds are run of what is slow."""


@dataclass(frozen=True)
class Ratio:
    """An engine's time by the time of the engine it is held against, round by round.

    Attributes:
        median: of the rounds.
        low, high: their quartiles.
        pairs: how many rounds.
        latency_ms: median milliseconds of a batch of one; of use only beside the machine's name.
    """

    median: float
    low: float
    high: float
    pairs: int
    latency_ms: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f}, {self.pairs} pairs)"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Ran:
    """An engine's part in a race: its session in words and its ratio, or why it did not run."""

    session: str
    ratio: Ratio | None
    why_not: str = ""


def race(
    engines: Mapping[str, Path], base: str, window: NDArray[np.uint8], *, pairs: int = PAIRS, seconds: float = SECONDS
) -> dict[str, Ran]:
    """Times engines on batches of one.

    Args:
        engines: files by name.
        base: the name of the engine that the others are held against; it must run.
        window: uint8 (H, W, 3), RGB, of the engines' size.
        pairs: rounds at most.
        seconds: what all rounds together should not exceed; at least `MIN_PAIRS` are run all the same.

    Raises:
        EngineError: when the base does not run here.
    """
    batch, found, sessions = np.ascontiguousarray(window[None]), {}, {}
    with ExitStack() as stack:
        for name, path in engines.items():
            try:
                session = stack.enter_context(open_session(path))
                session.run(batch)
            except DlcvError as error:
                if name == base:
                    raise
                found[name] = Ran("", None, str(error))
                continue
            sessions[name] = session
        times = _rounds(sessions, batch, pairs, seconds)
        for name, session in sessions.items():
            ratios = [a / b for a, b in zip(times[name], times[base], strict=True)]
            low, median, high = statistics.quantiles(ratios, n=4)
            latency_ms = 1000 * statistics.median(times[name])
            found[name] = Ran(session.description, Ratio(median, low, high, len(ratios), latency_ms))
    return {name: found[name] for name in engines}


def _rounds(
    sessions: Mapping[str, Session], batch: NDArray[np.uint8], pairs: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds of each session in each round; who begins changes from round to round."""
    names = list(sessions)
    times: dict[str, list[float]] = {name: [] for name in names}
    begin = time.perf_counter()
    for number in range(pairs):
        for place in range(len(names)):
            name = names[(number + place) % len(names)]
            start = time.perf_counter()
            sessions[name].run(batch)
            times[name].append(time.perf_counter() - start)
        spent = time.perf_counter() - begin
        if number + 1 >= MIN_PAIRS and spent * (number + 2) / (number + 1) > seconds:
            break
    return times
