"""Whether libraries load, each tried in a process of its own with a time limit: one that crashes or hangs is a finding."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dlcv.runtime.machine import cpu_count

TIMEOUT_S = 60
_MARK = "dlcv-probe:"
# The current folder goes: a file numpy.py in it is not what is asked about. `os._exit`: some crash at the end alone.
_PROGRAM = f"""
import sys
sys.path = [path for path in sys.path if path]
import json, os
sys.modules["openvino_telemetry"] = None  # it would report to its maker that openvino was imported
try:
    {{statement}}
except BaseException as error:
    found = {{{{"error": f"{{{{type(error).__name__}}}}: {{{{error}}}}"}}}}
print("\\n{_MARK}" + json.dumps(found))
sys.stdout.flush()
os._exit(0)
"""
_MORE = {"onnxruntime": ", 'providers': m.get_available_providers()"}


@dataclass(frozen=True)
class Loaded:
    """What became of loading a module.

    Attributes:
        version: that the module says; empty where it did not load.
        problem: why it did not load; empty where it did.
        providers: of ONNX Runtime alone.
    """

    version: str = ""
    problem: str = ""
    providers: tuple[str, ...] = ()


def is_installed(module: str) -> bool:
    """Whether a top-level module would be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def load_modules(modules: Iterable[str]) -> dict[str, Loaded]:
    """Loads each module in a process of its own; those that are not installed are left out."""
    names = [name for name in modules if is_installed(name)]
    with ThreadPoolExecutor(cpu_count()) as pool:
        return dict(zip(names, pool.map(_load, names)))


def driver() -> dict[str, Any]:
    """What `gpus.list_gpus` finds, from a process of its own; `problem` tells where that failed."""
    found = _run("from dlcv.runtime.doctor.gpus import list_gpus; found = list_gpus()")
    if "error" in found:
        return {
            "problem": f"an NVIDIA driver or none, it could not be asked ({found['error']})",
            "kernel_driver": "",
            "cuda": "",
            "gpus": [],
        }
    return found


def _load(module: str) -> Loaded:
    found = _run(
        f"import {module} as m; found = {{'version': str(getattr(m, '__version__', '')){_MORE.get(module, '')}}}"
    )
    if "error" in found:
        return Loaded(problem=found["error"])
    return Loaded(version=found["version"] or "unknown", providers=tuple(found.get("providers", ())))


def _run(statement: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM.format(statement=statement)],
            capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {TIMEOUT_S} seconds"}
    except OSError as error:
        return {"error": f"{sys.executable} did not start: {error.strerror or error}"}
    line = done.stdout.rpartition(_MARK)[2] if _MARK in done.stdout else ""
    try:
        found = json.loads(line)
    except ValueError:
        return {"error": f"the process ended with code {done.returncode}"}
    if not isinstance(found, dict):
        return {"error": "an answer that is none"}
    if "error" in found:
        found["error"] = " ".join(str(found["error"]).split())[:300]
    return found
