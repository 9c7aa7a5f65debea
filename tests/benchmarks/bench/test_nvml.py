"""NVML through a double whose calls are held against the real package."""

from __future__ import annotations

import inspect
import time
from types import SimpleNamespace
from typing import Any

import pytest

from dlcv.benchmarks.bench import nvml
from dlcv.benchmarks.bench.nvml import Gpu, Readings, watched


class NVMLError(Exception):
    pass


class Double:
    """pynvml, as far as it is used: a GPU of which power grows, and that tells no temperature."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self) -> None:
        self.looks, self.opened, self.handles = 0, 0, []  # type: ignore[var-annotated]

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "590.1"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        self.handles.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        self.handles.append(uuid)
        return uuid

    def nvmlDeviceGetName(self, handle: Any) -> bytes:
        return b"NVIDIA Double"  # older releases gave bytes

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any) -> int:
        return 700_000

    def nvmlDeviceGetMaxClockInfo(self, handle: Any, type: int) -> int:
        return 1980

    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: Any = None) -> Any:
        self.looks += 1
        return SimpleNamespace(used=int((1000 + min(self.looks, 3)) * 1e6))

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:
        return 100_000 + 1000 * self.looks

    def nvmlDeviceGetClockInfo(self, handle: Any, type: int) -> int:
        return {1: 1755, 2: 2619}[type]

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:
        raise NVMLError("Not Supported")


CALLS = [name for name in vars(Double) if name.startswith("nvml")]


@pytest.mark.parametrize("name", CALLS)
def test_the_double_has_the_signatures_of_nvml(name: str) -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    expected = list(inspect.signature(getattr(real, name)).parameters)
    assert list(inspect.signature(getattr(Double(), name)).parameters) == expected


def test_the_double_has_the_constants_of_nvml() -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    for name in ("NVML_CLOCK_SM", "NVML_CLOCK_MEM", "NVML_TEMPERATURE_GPU"):
        assert getattr(real, name) == getattr(Double, name)
    assert issubclass(real.NVMLError, Exception)


def test_the_double_has_all_that_is_used() -> None:
    import re

    used = set(re.findall(r"nvml\.(nvml\w+)", inspect.getsource(nvml)))
    assert used == set(CALLS)


def test_readings_while_something_runs() -> None:
    double = Double()
    gpu = Gpu(double)
    assert (gpu.name, gpu.driver, gpu.power_limit_w, gpu.max_sm_mhz) == ("NVIDIA Double", "590.1", 700.0, 1980)
    with gpu.watching(every_s=0.005) as readings:
        time.sleep(0.05)
    assert len(readings.power_w) >= 3
    assert readings.memory_growth_mb == 2.0
    facts = readings.facts()
    assert facts["power_w_min"] == 101.0 and facts["power_w_max"] == readings.power_w[-1]
    assert facts["sm_mhz_median"] == 1755.0
    assert not any("temperature" in name for name in facts), "what the GPU does not tell is left out"
    gpu.close()
    assert double.opened == 0


@pytest.mark.parametrize(("visible", "handle"), [("", 0), ("2,0", 2), ("GPU-abc,GPU-def", "GPU-abc"), ("MIG-x", 0)])
def test_the_first_visible_gpu(monkeypatch: pytest.MonkeyPatch, visible: str, handle: Any) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    double = Double()
    Gpu(double)
    assert double.handles == [handle]


def test_without_a_gpu_readings_stay_empty() -> None:
    with watched(None) as readings:
        pass
    assert readings == Readings() and readings.facts() == {} and readings.memory_growth_mb == 0.0


def test_without_nvml_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert nvml.find_gpu() == (None, "nvidia-ml-py is not installed: pip install nvidia-ml-py")
