"""The GPUs as the driver itself lists them: `python -m dlcv.runtime.doctor.gpus` prints them as JSON.

The doctor runs it as a process of its own, because a driver that is half installed can hang or crash.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

from dlcv.runtime.sessions.cuda import driver_problem, gpu_name_and_capability

_MAX_GPUS = 64
_KERNEL_DRIVER = Path("/proc/driver/nvidia/version")


def list_gpus() -> dict[str, Any]:
    """What the driver says.

    Returns:
        `problem`: what is wrong with it (see `driver_problem`), empty where it works; `kernel_driver`: the first line of
        the kernel module, empty where there is none; and where it works `cuda`: the newest CUDA version that it runs, and
        `gpus`: name, compute_capability and memory_bytes of each.
    """
    found: dict[str, Any] = {"problem": driver_problem(), "kernel_driver": _kernel_driver(), "cuda": "", "gpus": []}
    if found["problem"]:
        return found
    library, count, version = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    library.cuDeviceGetCount(ctypes.byref(count))
    found["cuda"] = f"{version.value // 1000}.{version.value % 1000 // 10}"
    for index in range(min(count.value, _MAX_GPUS)):
        name, capability = gpu_name_and_capability(index)
        device, memory = ctypes.c_int(), ctypes.c_size_t()
        library.cuDeviceGet(ctypes.byref(device), index)
        library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        found["gpus"].append({"name": name, "compute_capability": capability, "memory_bytes": memory.value})
    return found


def _kernel_driver() -> str:
    try:
        return _KERNEL_DRIVER.read_text("utf-8", "replace").splitlines()[0][:200]
    except (OSError, IndexError):
        return ""


if __name__ == "__main__":
    print(json.dumps(list_gpus()))
