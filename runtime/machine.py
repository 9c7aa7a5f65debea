"""What this machine has, from the standard library alone."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
