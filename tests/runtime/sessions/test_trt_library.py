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


@pytest.mark.parametrize(
    ("version", "flags", "typed", "expected"),
    [
        ("8.6.0", {"EXPLICIT_BATCH": 0}, False, 0b01),
        ("10.9.0.34", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, True, 0b10),
        ("11.4.0.106", {"STRONGLY_TYPED": 1}, True, 0b10),
    ],
)
def test_networks_are_strongly_typed_where_there_is_such_a_thing(
    monkeypatch: pytest.MonkeyPatch, version: str, flags: dict[str, int], typed: bool, expected: int
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", _module("tensorrt", version, **flags))
    library, problem = find_library("tensorrt")
    assert library is not None
    assert problem == ""
    assert (library.strongly_typed, library.network_flags, library.is_rtx) == (typed, expected, False)
    assert library.major == int(version.split(".", maxsplit=1)[0])


def test_real_rtx_networks_are_strongly_typed() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    library, _ = find_library("tensorrt_rtx")
    assert library is not None
    assert library.is_rtx
    assert library.network_flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


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
