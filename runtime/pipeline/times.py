"""Where the time of a run went, a stage at a time: seconds on the clock and seconds of CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from dlcv.runtime.machine import cpu_count, idle_seconds

STAGES = ("decode", "session", "write")


def _zeros() -> dict[str, float]:
    return dict.fromkeys(STAGES, 0.0)


@dataclass
class StageTimes:
    """Where the time went. All times in seconds.

    Attributes:
        wall_s: from start to end.
        busy_s: on the clock, what a stage's threads spent at work, summed over its threads; waiting for a disk, for a GPU
            and for a free core among it.
        cpu_s: CPU time of a stage's threads; threads of a library's own are not in it, but in `process_cpu_s`.
        process_cpu_s: CPU time of the whole process in `wall_s`.
        idle_s: what the cores of this process were idle in `wall_s`, summed over them; None where the system does not say.
        cores: that this process may use.
        threads: threads of each stage.
        batches: how often the session was called.
    """

    wall_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=_zeros)
    threads: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    cpu_s: dict[str, float] = field(default_factory=_zeros)
    process_cpu_s: float = 0.0
    idle_s: float | None = None
    cores: int = field(default_factory=cpu_count)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def share(self, stage: str) -> float:
        """The part of the run's time in which a stage's threads were at work, 0..1."""
        available = self.wall_s * self.threads.get(stage, 1)
        return self.busy_s[stage] / available if available else 0.0

    def as_facts(self) -> dict[str, Any]:
        """For `summary.json`: a stage's seconds at work and of CPU, its threads, its share."""
        return {
            stage: {
                "busy_s": round(self.busy_s[stage], 6),
                "cpu_s": round(self.cpu_s[stage], 6),
                "threads": self.threads.get(stage, 0),
                "share": round(self.share(stage), 3),
            }
            for stage in STAGES
        }

    def add(self, stage: str, busy_s: float, cpu_s: float) -> None:
        """Counts what one of a stage's threads did."""
        self.busy_s[stage] += busy_s
        self.cpu_s[stage] += cpu_s

    def add_cpu(self, stage: str, seconds: float) -> None:
        """Counts what other processes did for a stage."""
        with self._lock:
            self.cpu_s[stage] += seconds
            self.process_cpu_s += seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts what happens inside as the run."""
        start, cpu_start, idle_start = time.perf_counter(), time.process_time(), idle_seconds()
        try:
            yield
        finally:
            self.wall_s = time.perf_counter() - start
            self.process_cpu_s = time.process_time() - cpu_start
            idle_end = idle_seconds()
            self.idle_s = None if idle_start is None or idle_end is None else idle_end - idle_start
