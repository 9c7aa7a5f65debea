"""The machine and the software that a measurement stands for, and how busy the machine was."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dlcv.benchmarks.bench.nvml import Gpu
from dlcv.runtime.machine import cpu_count, cpu_name
from dlcv.runtime.version import __version__

PACKAGES = (
    "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "tensorrt", "tensorrt-rtx-cu13", "pycuda",
    "opencv-python-headless", "simplejpeg", "isal",
)  # fmt: skip
"""What is told with its version."""
MACHINE = ("cpu", "cores", "gpu", "system")
"""What makes two machines the same as far as absolute times go."""


def environment(command: Sequence[str], gpu: Gpu | None = None) -> dict[str, Any]:
    """As JSON values: CPU, cores, GPU, driver, system, Python, versions, commit, command, time, load average."""
    return {
        "cpu": cpu_name(),
        "cores": cpu_count(),
        "gpu": _gpu_name(gpu),
        "driver": gpu.driver if gpu else "",
        "power_limit_w": gpu.power_limit_w if gpu else None,
        "max_sm_mhz": gpu.max_sm_mhz if gpu else None,
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "dlcv": __version__,
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "threads": {
            name: os.environ[name] for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES") if name in os.environ
        },
        "commit": commit(),
        "command": " ".join(command),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_before": load(),
    }


def load() -> list[float] | None:
    """The load average over 1, 5 and 15 minutes; None where the system has none."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return None


def commit(folder: Path = Path(__file__).parent) -> str:
    """The commit of the checkout that this code is in, with `-dirty` where it was changed; outside of one what DLCV_COMMIT says."""
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("DLCV_COMMIT", "")
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def command_line() -> list[str]:
    """What was typed, with the program's name alone."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def same_machine(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What speaks against two environments being one machine's, in words; empty when nothing does."""
    return [f"{name} {a.get(name)!r} and {b.get(name)!r}" for name in MACHINE if a.get(name) != b.get(name)]


def _gpu_name(gpu: Gpu | None) -> str:
    if gpu:
        return gpu.name
    from dlcv.runtime.sessions.cuda import driver_present, gpu_name_and_capability

    return gpu_name_and_capability()[0] if driver_present() else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
