"""What is asked of libcuda.so.1 before any package is imported."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest

from dlcv.runtime.sessions import cuda


class _Driver:
    """As much of libcuda.so.1 as is called; `ctypes.byref` arguments are written through `_obj`."""

    def __init__(self, code: int) -> None:
        self.code = code

    def cuInit(self, flags: int) -> int:
        return self.code

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = b"NVIDIA H200"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (0, ""),
        (100, "an NVIDIA driver and no GPU that it may use (see nvidia-smi and CUDA_VISIBLE_DEVICES)"),
        (34, "an NVIDIA driver that does not start (cuInit returned 34; see nvidia-smi)"),
    ],
)
def test_what_the_driver_answers_is_told(monkeypatch: pytest.MonkeyPatch, code: int, problem: str) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _Driver(code))
    assert cuda.driver_problem() == problem
    assert cuda.driver_present() is (code == 0)


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert cuda.driver_problem() == "no NVIDIA driver (libcuda.so.1)"


def test_the_gpu_is_named_without_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _Driver(0))
    monkeypatch.setitem(sys.modules, "pycuda", None)
    assert cuda.gpu_name_and_capability() == ("NVIDIA H200", "9.0")
