"""What this machine has, from the standard library alone."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_limit: list[int] = []


def cpu_count() -> int:
    """The cores that this process may use: those of its affinity, and no more than a container's quota feeds (`docker --cpus 2`, a
    limit of Kubernetes), rounded up; PYTHON_CPU_COUNT, which Python 3.13 obeys, takes the place of both.
    """
    asked = os.environ.get("PYTHON_CPU_COUNT", "")
    if asked.isdecimal() and int(asked) > 0:
        return min([int(asked), *_limit])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *_quota(), *_limit])


@cache
def _quota() -> tuple[int, ...]:
    quota = cgroup_cpus()
    return () if quota is None else (quota,)


def cgroup_cpus(root: Path = Path("/")) -> int | None:
    """How many cores the quotas of this process's control groups come to, rounded up; None where there is none.

    Version 2 has `cpu.max` ("200000 100000", or "max 100000"), version 1 `cpu.cfs_quota_us` (-1 for none) and
    `cpu.cfs_period_us`. A group's parents bind it too, and inside a container its own group may stand at the top.

    Args:
        root: of the file system.
    """
    shares = []
    for folder in _cgroup_folders(root):
        quota, period = _numbers(folder / "cpu.max") or (
            *_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us"), -1, -1
        )[:2]  # fmt: skip
        if quota > 0 and period > 0:
            shares.append(max(1, -(-quota // period)))
    return min(shares, default=None)


def _cgroup_folders(root: Path) -> list[Path]:
    """Where limits of this process may stand: its groups and their parents, by `/proc/self/cgroup`: `0::/a/b`, `4:cpu,cpuacct:/a/b`."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return []
    mounted, found = root / "sys/fs/cgroup", []
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        tops = [mounted] if number == "0" else [mounted / name for name in (controllers, "cpu", "cpu,cpuacct")]
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [top.joinpath(*parts[:depth]) for top in tops for depth in range(len(parts) + 1)]
    return found


def _numbers(path: Path) -> tuple[int, ...]:
    """The whole numbers in a small file; none where it cannot be read, or says `max`."""
    try:
        return tuple(int(text) for text in path.read_text().split())
    except (OSError, ValueError):
        return ()


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
