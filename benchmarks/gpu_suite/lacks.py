"""What this machine lacks for a part."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dlcv.benchmarks.gpu_suite.parts import TENSORRT_PYTHON, Part
from dlcv.runtime.sessions.cuda import driver_problem

START = Path(__file__).with_name("start.py")
"""Starts a module in a Python of TensorRT's own."""


def lacks(part: Part, environment: Mapping[str, str], *, driver: bool = True) -> str:
    """As a reason, such as `pycuda is not installed`; empty where the part can run.

    Args:
        part: the part.
        environment: of its process; DLCV_TENSORRT_PYTHON names a Python of TensorRT's own.
        driver: whether a missing driver counts.
    """
    if driver and part.driver and (problem := driver_problem()):
        return f"this machine has {problem}"
    if driver and part.data and not Path(part.data).is_dir():
        return f"there is no folder {part.data}/ here, which it trains on"
    own = environment.get("DLCV_TENSORRT_PYTHON", "") if part.command.startswith(TENSORRT_PYTHON) else ""
    variables = environment_for(part, environment)
    missing = [
        package
        for package in (*part.packages, *(["dlcv"] if own else []))
        if not any(_has(name, own, variables) for name in package.split("|"))
    ]
    where = f" in {own}" if own else ""
    return f"{', '.join(missing).replace('|', ' or ')} is not installed{where}" if missing else ""


def environment_for(part: Part, environment: Mapping[str, str]) -> dict[str, str]:
    """Of a part's process: a Python of TensorRT's own also finds what is lent to it."""
    own = part.command.startswith(TENSORRT_PYTHON) and environment.get("DLCV_TENSORRT_PYTHON")
    lent = environment.get("DLCV_EXTRA_PYTHONPATH") if own else ""
    path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH", ""), lent]))
    return {**environment, **({"PYTHONPATH": path} if path else {})}


def _has(package: str, python: str, environment: Mapping[str, str]) -> bool:
    if not python:
        return importlib.util.find_spec(package) is not None
    try:
        return (
            subprocess.run(
                [*shlex.split(python), str(START), "--has", package], capture_output=True, timeout=60, check=False,
                env={**os.environ, **environment},
            ).returncode
            == 0
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
