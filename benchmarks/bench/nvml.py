"""Memory, power and clocks of the GPU while something is measured. The one file that knows NVML (`pip install nvidia-ml-py`)."""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

EVERY_S = 0.02
"""Between two looks, in seconds; NVML itself renews power about as often."""


@dataclass
class Readings:
    """What was seen, a value a look.

    Attributes:
        memory_mb: used on the whole device, by all processes.
        power_w: of the board.
        sm_mhz, memory_mhz: clocks.
        temperature_c: of the chip.
    """

    memory_mb: list[float] = field(default_factory=list)
    power_w: list[float] = field(default_factory=list)
    sm_mhz: list[float] = field(default_factory=list)
    memory_mhz: list[float] = field(default_factory=list)
    temperature_c: list[float] = field(default_factory=list)

    @property
    def memory_growth_mb(self) -> float:
        """The most above what was used at the first look; 0 without one."""
        return max(self.memory_mb) - self.memory_mb[0] if self.memory_mb else 0.0

    def facts(self) -> dict[str, float]:
        """Median and extremes; what the device does not tell is left out."""
        found: dict[str, float] = {}
        for name, values in vars(self).items():
            if values:
                found |= {
                    f"{name}_median": statistics.median(values),
                    f"{name}_min": min(values),
                    f"{name}_max": max(values),
                }
        return {name: round(value, 1) for name, value in found.items()}


class Gpu:
    """A GPU that NVML tells about; see `find_gpu`."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        nvml.nvmlInit()
        self._handle = _first_visible(nvml)
        self.name = _text(nvml.nvmlDeviceGetName(self._handle))
        self.driver = _text(nvml.nvmlSystemGetDriverVersion())
        self.power_limit_w: float | None = None
        self.max_sm_mhz: float | None = None
        with suppress(nvml.NVMLError):  # a virtual GPU, or one that tells less
            self.power_limit_w = nvml.nvmlDeviceGetEnforcedPowerLimit(self._handle) / 1000
        with suppress(nvml.NVMLError):
            self.max_sm_mhz = nvml.nvmlDeviceGetMaxClockInfo(self._handle, nvml.NVML_CLOCK_SM)

    def look(self, readings: Readings) -> None:
        """Adds a value of each kind that the GPU tells."""
        nvml, handle = self._nvml, self._handle
        for values, ask in (
            (readings.memory_mb, lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6),
            (readings.power_w, lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            (readings.sm_mhz, lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))),
            (readings.memory_mhz, lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))),
            (readings.temperature_c, lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
        ):
            with suppress(nvml.NVMLError):
                values.append(ask())

    @contextmanager
    def watching(self, every_s: float = EVERY_S) -> Iterator[Readings]:
        """Looks again and again, in a thread, as long as the block runs; at least at its start and its end."""
        readings, over = Readings(), threading.Event()
        self.look(readings)

        def watch() -> None:
            while not over.wait(every_s):
                self.look(readings)

        thread = threading.Thread(target=watch, name="nvml", daemon=True)
        thread.start()
        try:
            yield readings
        finally:
            over.set()
            thread.join()
            self.look(readings)

    def close(self) -> None:
        """Ends NVML."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()


def find_gpu() -> tuple[Gpu | None, str]:
    """The GPU that CUDA uses first, or None and why, in words."""
    try:
        import pynvml
    except ImportError:
        return None, "nvidia-ml-py is not installed: pip install nvidia-ml-py"
    try:
        return Gpu(pynvml), ""
    except pynvml.NVMLError as error:
        return None, f"NVML does not start: {error}"


@contextmanager
def watched(gpu: Gpu | None) -> Iterator[Readings]:
    """`Gpu.watching`; without a GPU, readings that stay empty."""
    if gpu is None:
        yield Readings()
        return
    with gpu.watching() as readings:
        yield readings


def _first_visible(nvml: Any) -> Any:
    """NVML counts all GPUs, CUDA those of CUDA_VISIBLE_DEVICES."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if first.startswith("GPU-"):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    return nvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdigit() else 0)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
