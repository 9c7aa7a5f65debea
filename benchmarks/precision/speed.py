"""Sessions of a precision against those of float32 in the same library: in turn in one process, a batch of one on one thread.

CPU time stands beside wall-clock time: on a machine that others use, it hardly counts what they take.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.benchmarks.timing import MIN_PAIRS, PairedRatio, ratio_of_pairs
from dlcv.runtime.errors import DlcvError
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.sessions import open_session
from dlcv.runtime.sessions.base import Session

BASE = "fp32"
WARM = 2


@dataclass(frozen=True)
class Speed:
    """A session's time by float32's in the same library: wall-clock, and CPU time of the process."""

    wall: PairedRatio
    cpu: PairedRatio

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def speeds(
    graphs: Mapping[str, Path], sessions: Sequence[str], window: NDArray[np.uint8], pairs: int = MIN_PAIRS
) -> dict[tuple[str, str], Speed]:
    """Times what opens.

    Args:
        graphs: files by precision; `fp32` is what the others are held against.
        sessions: libraries.
        window: uint8 (H, W, 3), RGB, of the graphs' size.
        pairs: rounds; each runs every session once, and who begins changes.

    Returns:
        By precision and session; without those that do not run here, and a library without float32.
    """
    batch = np.ascontiguousarray(window[None])
    with ExitStack() as stack:
        opened: dict[tuple[str, str], Session] = {}
        for precision, path in graphs.items():
            for name in sessions:
                try:
                    # a lane a core is one thread for a batch: waiting threads would count as work
                    session = open_session(path, device="cpu", session=name, lanes=cpu_count())
                except DlcvError:
                    continue
                opened[precision, name] = stack.enter_context(session)
        times = _rounds(opened, batch, pairs)
    return {
        key: Speed(*(ratio_of_pairs(times[key][clock], times[BASE, key[1]][clock]) for clock in (0, 1)))
        for key in opened
        if key[0] != BASE and (BASE, key[1]) in opened
    }


def _rounds(
    opened: Mapping[tuple[str, str], Session], batch: NDArray[np.uint8], pairs: int
) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """Seconds of each session in each round: wall-clock, and of the process's CPU time."""
    keys = list(opened)
    times: dict[tuple[str, str], tuple[list[float], list[float]]] = {key: ([], []) for key in keys}
    for number in range(-WARM, pairs):
        for place in range(len(keys)):
            key = keys[(number + place) % len(keys)]
            start, cpu = time.perf_counter(), time.process_time()
            opened[key].run(batch)
            if number >= 0:
                times[key][1].append(time.process_time() - cpu)
                times[key][0].append(time.perf_counter() - start)
    return times
