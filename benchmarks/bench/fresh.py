"""Processes of their own: from the start to the first answer, the first call, and the peak of memory.

The clock is the system's monotonic one, which all processes of a machine share.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.benchmarks.bench.nvml import Gpu, watched
from dlcv.runtime.errors import EngineError, one_line

TIMEOUT_S = 600.0

_HEAD = "import json, sys, time; order = json.loads(sys.argv[1])\n"
_TAIL = """
start = time.monotonic()
run(images)
end = time.monotonic()
peak = open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]
print(json.dumps({"first_s": end - start, "end": end, "peak_mb": int(peak) * 1.024 / 1000}), flush=True)
"""
"""VmHWM and not `getrusage`: its peak is that of the process that started this one, where that was larger."""

OURS = f"""{_HEAD}
from dlcv.runtime.provenance import Trust
from dlcv.runtime.sessions import open_session
import numpy as np
trust = Trust(tuple(order["hashes"]), tuple(order["keys"]), order["host_code"])
session = open_session(
    order["path"], device=order["device"], session=order["session"], compute=order["compute"], trust=trust
)
images, run = np.zeros((order["batch"], *order["size_hw"], 3), np.uint8), session.run
{_TAIL}
session.close()
"""
ONNXRUNTIME = f"""{_HEAD}
import os
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import numpy as np, onnxruntime as ort
first = order["providers"][0][0]
session = ort.InferenceSession(order["path"], providers=list(map(tuple, order["providers"])))
if session.get_providers()[0] != first:
    sys.exit(f"ONNX Runtime does not run it with {{first}}")
images, run = np.zeros((order["batch"], *order["size_hw"], 3), np.uint8), lambda x: session.run(None, {{"image": x}})
{_TAIL}
"""
OPENVINO = f"""{_HEAD}
sys.modules["openvino_telemetry"] = None  # as our session does: it would report to its maker, and take time to
import numpy as np, openvino
model = openvino.Core().compile_model(order["path"], "CPU", {{"INFERENCE_PRECISION_HINT": order["hint"]}})
images, run = np.zeros((order["batch"], *order["size_hw"], 3), np.uint8), lambda x: model({{"image": x}})
{_TAIL}
"""


@dataclass(frozen=True)
class Fresh:
    """A process that answered one batch.

    Attributes:
        cold_s: from its start to the first answer, in seconds.
        first_s: the first call, in seconds.
        peak_mb: resident memory at its peak, in MB.
        device_mb: what the device's memory grew by at most while it ran, in MB; None where nothing tells.
    """

    cold_s: float
    first_s: float
    peak_mb: float
    device_mb: float | None = None


def run_fresh(code: str, order: dict[str, Any], gpu: Gpu | None = None) -> Fresh:
    """Runs one of the programs above.

    Args:
        code: `OURS`, `ONNXRUNTIME` or `OPENVINO`.
        order: what it is told: path, batch, size_hw and what else it reads.
        gpu: to be watched meanwhile.

    Raises:
        EngineError: when it fails, with its last line, or takes longer than `TIMEOUT_S`.
    """
    order = {name: str(value) if isinstance(value, Path) else value for name, value in order.items()}
    with watched(gpu) as readings:
        start = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, json.dumps(order)],
                check=False,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"a process of its own was stopped after {TIMEOUT_S:.0f} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise EngineError(f"a process of its own ended with {done.returncode}: {one_line(last)[:300]}")
    found = json.loads(done.stdout.splitlines()[-1])
    grown = readings.memory_growth_mb if readings.memory_mb else None
    return Fresh(found["end"] - start, found["first_s"], found["peak_mb"], grown)
