"""What this machine has, from the standard library alone."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_limit: list[int] = []


def cpu_count() -> int:
    """The cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *_limit])


def limit_cores(cores: int) -> None:
    """Makes `cpu_count` tell no more than this: of one process of several that share a machine by agreement, not by affinity."""
    _limit[:] = [cores]


def cpu_name() -> str:
    """The processor's name, as the operating system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def idle_seconds() -> float | None:
    """How long the cores that this process may use have been idle since the start of the machine, summed over them.

    None where the operating system does not say.
    """
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    fields = [line.split() for line in lines]
    return sum(int(row[4]) + int(row[5]) for row in fields if row and row[0] in cores) / ticks  # idle, iowait
