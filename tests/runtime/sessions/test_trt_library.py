"""What differs between TensorRT's libraries, and the log that is kept instead of printed."""

from __future__ import annotations

import sys
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dlcv.runtime.errors import EngineError
from dlcv.runtime.sessions import trt_library
from dlcv.runtime.sessions.trt_library import find_library, library_for

Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")


def _module(name: str, version: str, **flags: int) -> Any:
    module: Any = ModuleType(name)
    module.__version__ = version
    module.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)
    module.ILogger = type("ILogger", (), dict(Severity.__members__))
    return module


def test_a_library_for_another_cuda_says_for_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise ImportError("libcudart.so.12: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(trt_library, "import_module", broken)
    assert find_library("tensorrt")[1].endswith(
        "; it is built for CUDA 12, which is not here: take the package that ends in -cu and this machine's CUDA)"
    )


def test_the_lean_runtime_is_preferred_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, _module(name, "11.4.0.106"))
    full, lean = library_for("tensorrt"), library_for("tensorrt", lean_first=True)
    assert full is not None and lean is not None
    assert (full.name, lean.name, full.is_rtx) == ("tensorrt", "tensorrt_lean", False)


def test_warnings_and_errors_are_kept_on_one_line_each_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", _module("tensorrt", "11.4.0.106"))
    library, _ = find_library("tensorrt")
    assert library is not None
    log = library.log
    assert log is library.log, "TensorRT keeps the first logger that it is given"
    assert log.last_error() == "TensorRT gave no reason"
    for severity in Severity:
        log.log(severity, f"{severity.name}\n told")
    assert list(log.errors) == ["INTERNAL_ERROR told", "ERROR told"]
    assert list(log.warnings) == ["WARNING told"]
    assert log.last_error() == "ERROR told"
    log.clear()
    assert not log.errors
    assert not log.warnings
    assert capfd.readouterr() == ("", "")


def test_a_library_that_is_there_and_broken_is_told_apart_from_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    assert find_library("tensorrt") == (None, "is not installed")
    assert library_for("tensorrt") is None

    def broken(name: str) -> ModuleType:
        raise OSError("libnvinfer.so.10: cannot open\nshared object file")

    monkeypatch.setattr(trt_library, "import_module", broken)
    with pytest.raises(EngineError) as caught:
        library_for("tensorrt")
    assert str(caught.value) == (
        "tensorrt is installed and cannot be loaded (libnvinfer.so.10: cannot open shared object file); "
        "install it again with: pip install 'dlcv-edge[tensorrt]'"
    )
